//! What scripts find beside the language: the objects of each end, with every function's name in one place.

mod argument;
mod bus;
mod crypto;
mod devices;
mod hardware;
mod http;
mod imp;
mod link;
mod peer;
mod pin;
mod request;
mod sampler;
mod server;
mod sleep;
mod text;
mod uart;

use std::sync::{Arc, OnceLock};

use squirrel::{ClassId, Constant, HostCall, Library, LibraryBuilder, Throw, Value};

use crate::app::App;
use crate::side::End;

pub(crate) use devices::HardwareClasses;
pub(crate) use http::Exchanges;
pub(crate) use request::Requests;

/// What a function of the host gives back to the script.
pub(crate) enum Reply {
    /// The call returns this.
    Value(Value),
    /// The script waits; the host's answer is the result.
    Wait,
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// The functions that need the app or its host. Those that only compute are natives of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Call {
    AgentUrl,
    CancelWakeup,
    ClearProxy,
    Connect,
    DeepSleepFor,
    DeepSleepUntil,
    DeviceId,
    Disconnect,
    Environment,
    Error,
    Flush,
    GetUserConfiguration,
    Info,
    IsConnected,
    LightLevel,
    Load,
    Log,
    MacAddress,
    MemoryFree,
    Micros,
    Millis,
    NoEffect,
    On,
    OnConnect,
    OnDisconnect,
    OnIdle,
    OnRequest,
    OnShutdown,
    OnUnexpectedDisconnect,
    Request,
    RequestCancel,
    RequestDelete,
    RequestGet,
    RequestPost,
    RequestPut,
    RequestSendAsync,
    RequestSendSync,
    ResponseHeader,
    ResponseSend,
    Restart,
    Save,
    Send,
    SetPolicy,
    SetProxy,
    SetUserConfiguration,
    Sleep,
    SleepFor,
    SleepUntil,
    SoftwareVersion,
    Voltage,
    WakeReason,
    Wakeup,
}

impl Call {
    const ALL: [Self; 52] = [
        Self::AgentUrl,
        Self::CancelWakeup,
        Self::ClearProxy,
        Self::Connect,
        Self::DeepSleepFor,
        Self::DeepSleepUntil,
        Self::DeviceId,
        Self::Disconnect,
        Self::Environment,
        Self::Error,
        Self::Flush,
        Self::GetUserConfiguration,
        Self::Info,
        Self::IsConnected,
        Self::LightLevel,
        Self::Load,
        Self::Log,
        Self::MacAddress,
        Self::MemoryFree,
        Self::Micros,
        Self::Millis,
        Self::NoEffect,
        Self::On,
        Self::OnConnect,
        Self::OnDisconnect,
        Self::OnIdle,
        Self::OnRequest,
        Self::OnShutdown,
        Self::OnUnexpectedDisconnect,
        Self::Request,
        Self::RequestCancel,
        Self::RequestDelete,
        Self::RequestGet,
        Self::RequestPost,
        Self::RequestPut,
        Self::RequestSendAsync,
        Self::RequestSendSync,
        Self::ResponseHeader,
        Self::ResponseSend,
        Self::Restart,
        Self::Save,
        Self::Send,
        Self::SetPolicy,
        Self::SetProxy,
        Self::SetUserConfiguration,
        Self::Sleep,
        Self::SleepFor,
        Self::SleepUntil,
        Self::SoftwareVersion,
        Self::Voltage,
        Self::WakeReason,
        Self::Wakeup,
    ];
}

/// The library of one end, and the classes of the objects that the host makes while the app runs.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) library: Arc<Library>,
    pub(crate) timer: ClassId,
    pub(crate) response: ClassId,
    /// Of a device's pins.
    pub(crate) pin: Option<ClassId>,
    /// Of the rest of a device's hardware.
    pub(crate) hardware: Option<HardwareClasses>,
    /// Of an agent's own requests.
    pub(crate) request: Option<ClassId>,
}

impl Api {
    /// Built once for the process.
    pub(crate) fn of(end: End) -> &'static Self {
        static DEVICE: OnceLock<Api> = OnceLock::new();
        static AGENT: OnceLock<Api> = OnceLock::new();
        match end {
            End::Device => DEVICE.get_or_init(|| Self::build(end)),
            End::Agent => AGENT.get_or_init(|| Self::build(end)),
        }
    }

    fn build(end: End) -> Self {
        let mut builder = LibraryBuilder::new();
        let timer = builder.class("timer");
        let response = builder.class("httpresponse");
        let root = builder.root();
        for (name, value) in CONSTANTS.into_iter().chain(link::CONSTANTS) {
            builder.constant(root, name, Constant::Int(value));
        }
        builder.host_text_fn(root, "print", Call::Log as u32);
        builder.host_text_fn(root, "error", Call::Error as u32);
        imp_and_server(&mut builder, end);
        let crypto = object(&mut builder, "crypto");
        crypto::add(&mut builder, crypto);
        builder.native(crypto, "equals", 2..=2, crypto::equals);
        let (device, request) = match end {
            End::Device => (Some(device_objects(&mut builder)), None),
            End::Agent => (None, Some(agent_objects(&mut builder, response))),
        };
        let (pin, hardware) = device.unzip();
        Self { library: builder.build(), timer, response, pin, hardware, request }
    }
}

/// What an app of the imp may call, though a runtime that is a process has nothing to do for it: radio, power and its light.
const NO_EFFECT: [(&str, std::ops::RangeInclusive<u8>); 4] =
    [("enableblinkup", 1..=1), ("setpoweren", 1..=1), ("setpowersave", 1..=1), ("setsendbuffersize", 1..=1)];

const CONSTANTS: [(&str, i32); 16] = [
    ("PROXY_TYPE_HTTP", imp::PROXY_TYPE_HTTP),
    ("ENVIRONMENT_CARD", 0),
    ("ENVIRONMENT_MODULE", 1),
    ("ENVIRONMENT_AGENT", 2),
    ("SEND_ERROR_WOULDBLOCK", 4),
    ("WAKEREASON_POWER_ON", 0),
    ("WAKEREASON_TIMER", 1),
    ("WAKEREASON_SW_RESET", 2),
    ("WAKEREASON_PIN", 3),
    ("WAKEREASON_NEW_SQUIRREL", 4),
    ("WAKEREASON_SQUIRREL_ERROR", 5),
    ("WAKEREASON_NEW_FIRMWARE", 6),
    ("WAKEREASON_SNOOZE", 7),
    ("WAKEREASON_HW_RST", 8),
    ("WAKEREASON_BLINKUP", 9),
    ("WAKEREASON_SW_RESTART", 10),
];

/// An object of a class of its own in the root table, as the dialect's built-in objects are.
fn object(builder: &mut LibraryBuilder, name: &str) -> ClassId {
    let class = builder.class(name);
    let root = builder.root();
    builder.object(root, name, class, 0);
    class
}

fn imp_and_server(builder: &mut LibraryBuilder, end: End) {
    let imp = object(builder, "imp");
    builder.host_fn(imp, "cancelwakeup", 1..=1, Call::CancelWakeup as u32);
    builder.host_fn(imp, "environment", 0..=0, Call::Environment as u32);
    builder.host_fn(imp, "getmemoryfree", 0..=0, Call::MemoryFree as u32);
    builder.host_fn(imp, "getsoftwareversion", 0..=0, Call::SoftwareVersion as u32);
    builder.host_fn(imp, "info", 0..=0, Call::Info as u32);
    builder.host_fn(imp, "onidle", 1..=1, Call::OnIdle as u32);
    if end == End::Device {
        builder.host_fn(imp, "clearproxy", 0..=0, Call::ClearProxy as u32);
        builder.host_fn(imp, "deepsleepfor", 1..=1, Call::DeepSleepFor as u32);
        builder.host_fn(imp, "deepsleepuntil", 2..=4, Call::DeepSleepUntil as u32);
        builder.host_fn(imp, "getmacaddress", 0..=0, Call::MacAddress as u32);
        for (name, arguments) in NO_EFFECT {
            builder.host_fn(imp, name, arguments, Call::NoEffect as u32);
        }
        builder.host_fn(imp, "getuserconfiguration", 0..=0, Call::GetUserConfiguration as u32);
        builder.host_fn(imp, "setproxy", 3..=5, Call::SetProxy as u32);
        builder.host_fn(imp, "setuserconfiguration", 1..=1, Call::SetUserConfiguration as u32);
        builder.host_fn(imp, "sleep", 1..=1, Call::Sleep as u32);
    }
    let named = if end == End::Agent { 3 } else { 2 };
    builder.host_fn(imp, "wakeup", 2..=named, Call::Wakeup as u32);

    let server = object(builder, "server");
    builder.host_text_fn(server, "error", Call::Error as u32);
    builder.host_text_fn(server, "log", Call::Log as u32);
    builder.host_fn(server, "restart", 0..=0, Call::Restart as u32);
    match end {
        End::Device => device_server(builder, server),
        End::Agent => {
            builder.host_fn(server, "load", 0..=0, Call::Load as u32);
            builder.host_fn(server, "save", 1..=2, Call::Save as u32);
        }
    }
}

fn device_server(builder: &mut LibraryBuilder, server: ClassId) {
    builder.host_fn(server, "connect", 0..=2, Call::Connect as u32);
    builder.host_fn(server, "disconnect", 0..=0, Call::Disconnect as u32);
    builder.host_fn(server, "expectonlineat", 2..=4, Call::NoEffect as u32);
    builder.host_fn(server, "expectonlinein", 1..=1, Call::NoEffect as u32);
    builder.host_fn(server, "sleepfor", 1..=1, Call::SleepFor as u32);
    builder.host_fn(server, "sleepuntil", 2..=4, Call::SleepUntil as u32);
    builder.host_fn(server, "flush", 0..=1, Call::Flush as u32);
    builder.host_fn(server, "isconnected", 0..=0, Call::IsConnected as u32);
    builder.host_fn(server, "onshutdown", 1..=1, Call::OnShutdown as u32);
    builder.host_fn(server, "onunexpecteddisconnect", 1..=1, Call::OnUnexpectedDisconnect as u32);
    builder.host_fn(server, "setsendtimeoutpolicy", 3..=3, Call::SetPolicy as u32);
}

/// The objects of a device; the class of its pins and those of the rest of its hardware.
fn device_objects(builder: &mut LibraryBuilder) -> (ClassId, HardwareClasses) {
    let agent = object(builder, "agent");
    builder.host_fn(agent, "on", 2..=2, Call::On as u32);
    builder.host_fn(agent, "send", 2..=2, Call::Send as u32);

    let root = builder.root();
    let hardware = builder.table(root, "hardware");
    builder.host_fn(hardware, "getdeviceid", 0..=0, Call::DeviceId as u32);
    builder.host_fn(hardware, "lightlevel", 0..=0, Call::LightLevel as u32);
    builder.host_fn(hardware, "micros", 0..=0, Call::Micros as u32);
    builder.host_fn(hardware, "millis", 0..=0, Call::Millis as u32);
    builder.host_fn(hardware, "voltage", 0..=0, Call::Voltage as u32);
    builder.host_fn(hardware, "wakereason", 0..=0, Call::WakeReason as u32);
    devices::add(builder, hardware)
}

/// The objects of an agent; the class of its own requests.
fn agent_objects(builder: &mut LibraryBuilder, response: ClassId) -> ClassId {
    let device = object(builder, "device");
    builder.host_fn(device, "isconnected", 0..=0, Call::IsConnected as u32);
    builder.host_fn(device, "on", 2..=2, Call::On as u32);
    builder.host_fn(device, "onconnect", 1..=1, Call::OnConnect as u32);
    builder.host_fn(device, "ondisconnect", 1..=1, Call::OnDisconnect as u32);
    builder.host_fn(device, "send", 2..=2, Call::Send as u32);

    #[cfg(feature = "regexp2")]
    builder.regexp2();
    let root = builder.root();
    let http = builder.table(root, "http");
    let hash = builder.table(http, "hash");
    crypto::add(builder, hash);
    builder.host_fn(http, "agenturl", 0..=0, Call::AgentUrl as u32);
    builder.host_fn(http, "onrequest", 1..=1, Call::OnRequest as u32);
    builder.native(http, "base64decode", 1..=1, text::base64_decode);
    builder.native(http, "base64encode", 1..=1, text::base64_encode);
    builder.native(http, "jsondecode", 1..=1, text::json_decode);
    builder.native(http, "jsonencode", 1..=2, text::json_encode);
    builder.native(http, "urldecode", 1..=1, text::url_decode);
    builder.native(http, "urlencode", 1..=1, text::url_encode);
    builder.host_fn(response, "header", 2..=2, Call::ResponseHeader as u32);
    builder.host_fn(response, "send", 2..=2, Call::ResponseSend as u32);

    builder.constant(root, "NO_TIMEOUT", Constant::Int(request::NO_TIMEOUT));
    builder.host_fn(http, "get", 1..=2, Call::RequestGet as u32);
    builder.host_fn(http, "httpdelete", 1..=2, Call::RequestDelete as u32);
    builder.host_fn(http, "post", 3..=3, Call::RequestPost as u32);
    builder.host_fn(http, "put", 3..=3, Call::RequestPut as u32);
    builder.host_fn(http, "request", 4..=4, Call::Request as u32);
    let request = builder.class("httprequest");
    builder.host_fn(request, "cancel", 0..=0, Call::RequestCancel as u32);
    builder.host_fn(request, "sendasync", 1..=3, Call::RequestSendAsync as u32);
    builder.host_fn(request, "sendsync", 0..=0, Call::RequestSendSync as u32);
    request
}

impl App {
    /// Does what the script asked for.
    pub(crate) fn answer(&mut self, call: &HostCall) -> Result<Reply, Throw> {
        if call.id >= devices::FIRST {
            return self.answer_hardware(call);
        }
        let Some(function) = Call::ALL.get(call.id as usize) else {
            return Err(Throw::message("no such function on this end"));
        };
        let arg = |index: usize| call.args.get(index).copied().unwrap_or_default();
        match function {
            Call::AgentUrl => self.agent_url(),
            Call::CancelWakeup => self.cancel_wakeup(arg(0)),
            Call::DeepSleepFor => self.sleep_for("imp.deepsleepfor", arg(0)),
            Call::DeepSleepUntil => self.sleep_to("imp.deepsleepuntil", &call.args),
            Call::DeviceId => self.device_id(),
            Call::Environment => Ok(self.environment()),
            Call::Error => Ok(self.log_error(arg(0))),
            Call::Connect => self.connect(arg(0), arg(1)),
            Call::Disconnect => Ok(self.disconnect()),
            Call::Flush => self.flush(arg(0)),
            Call::GetUserConfiguration => self.user_configuration(),
            Call::Info => self.info(),
            Call::IsConnected => Ok(self.is_connected()),
            Call::LightLevel => Ok(self.light_level()),
            Call::OnShutdown => self.on_shutdown(arg(0)),
            Call::OnUnexpectedDisconnect => self.on_unexpected_disconnect(arg(0)),
            Call::SetPolicy => self.set_policy(arg(0), arg(1), arg(2)),
            Call::SetProxy => self.set_proxy(&call.args),
            Call::ClearProxy => Ok(self.clear_proxy()),
            Call::SetUserConfiguration => self.set_user_configuration(arg(0)),
            Call::Sleep => self.sleep(arg(0)),
            Call::SleepFor => self.sleep_for("server.sleepfor", arg(0)),
            Call::SleepUntil => self.sleep_to("server.sleepuntil", &call.args),
            Call::Voltage => Ok(self.voltage()),
            Call::Load => self.load(),
            Call::Log => Ok(self.log(arg(0))),
            Call::MacAddress => self.mac_address(),
            Call::MemoryFree => Ok(self.exact_memory_free()),
            Call::Micros => Ok(self.micros()),
            Call::Millis => Ok(self.millis()),
            Call::NoEffect => Ok(Value::Null.into()),
            Call::On => self.on(arg(0), arg(1)),
            Call::OnConnect => self.on_connect(arg(0)),
            Call::OnDisconnect => self.on_disconnect(arg(0)),
            Call::OnIdle => self.on_idle(arg(0)),
            Call::OnRequest => self.on_request(arg(0)),
            Call::Request => self.request_by(&call.args),
            Call::RequestCancel => self.cancel_request(call.this),
            Call::RequestDelete => self.request("DELETE", arg(0), arg(1), Value::Null),
            Call::RequestGet => self.request("GET", arg(0), arg(1), Value::Null),
            Call::RequestPost => self.request("POST", arg(0), arg(1), arg(2)),
            Call::RequestPut => self.request("PUT", arg(0), arg(1), arg(2)),
            Call::RequestSendAsync => self.send_async(call.this, arg(0), arg(1), arg(2)),
            Call::RequestSendSync => self.send_sync(call.this),
            Call::ResponseHeader => self.response_header(call.this, arg(0), arg(1)),
            Call::ResponseSend => self.response_send(call.this, arg(0), arg(1)),
            Call::Restart => Ok(self.restart()),
            Call::Save => self.save(arg(0), arg(1)),
            Call::Send => self.send(arg(0), arg(1)),
            Call::SoftwareVersion => self.software_version(),
            Call::WakeReason => Ok(self.wake_reason()),
            Call::Wakeup => self.wakeup(arg(0), arg(1), arg(2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_by_its_number() {
        for (index, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, index);
        }
    }
}
