//! An app alone, in virtual time: nobody is at the other end, and no second is waited for.

use std::io::{Write, stderr, stdout};

use anyhow::Result;
use apphost::{
    AgentInfo, App, Bench, Code, DeviceInfo, End, HttpFailure, Input, Limits, LogLevel, Now, Output, Side, Turn,
    WakeReason,
};
use squirrel::Program;

use super::{Place, Said};

/// What an app is told that it runs on.
const VERSION: &str = concat!("vouch ", env!("CARGO_PKG_VERSION"), " (squirrel run)");

/// Runs until the app has nothing left to do, fails, asks for a restart, or `most_ms` of virtual time are over.
pub(super) fn run(program: &Program, place: Place, most_ms: u64) -> Result<()> {
    let unix_ms = jiff::Timestamp::now().as_millisecond();
    let mut now = Now { mono_ms: 0, unix_ms };
    let (end, side, limits) = match place {
        Place::Device => (End::Device, Side::Device(device()), Limits::device()),
        Place::Agent => (End::Agent, Side::Agent(agent()), Limits::agent()),
    };
    let mut app = App::new(&Code::new(program, end), side, limits, WakeReason::PowerOn, now)?;
    loop {
        let turn = app.run(now);
        while let Some(output) = app.poll_output() {
            match output {
                Output::Failed { .. } => return Err(Said.into()),
                Output::RestartRequested | Output::Sleep(_) => return Ok(()),
                output => {
                    if let Some(answer) = answer(output)? {
                        app.input(answer, now)?;
                    }
                }
            }
        }
        match turn {
            Turn::More => {}
            Turn::Ended => return Ok(()),
            Turn::Idle | Turn::Waiting => match app.poll_timeout() {
                Some(due) if due <= most_ms => {
                    let due = due.max(now.mono_ms);
                    let passed = i64::try_from(due - now.mono_ms).unwrap_or(i64::MAX);
                    now = Now { mono_ms: due, unix_ms: now.unix_ms.saturating_add(passed) };
                }
                _ => return Ok(()),
            },
        }
    }
}

fn device() -> DeviceInfo {
    DeviceInfo {
        device_id: "0000000000000000".to_owned(),
        software_version: VERSION.to_owned(),
        connected: false,
        user_configuration: None,
        nv: None,
        board: Box::new(Bench::default()),
    }
}

fn agent() -> AgentInfo {
    AgentInfo {
        agent_url: "http://localhost/agent/000000000000".to_owned(),
        software_version: VERSION.to_owned(),
        saved: None,
        connected: false,
    }
}

/// Prints log lines; answers the rest as a host without network does.
fn answer(output: Output) -> Result<Option<Input>> {
    Ok(match output {
        Output::Log { level: LogLevel::Log, text } => {
            writeln!(stdout(), "{text}")?;
            None
        }
        Output::Log { level: LogLevel::Error, text } => {
            writeln!(stderr(), "{text}")?;
            None
        }
        Output::Send { .. } => Some(Input::Sent(Err(apphost::NotSent::NotConnected))),
        Output::Save(_) | Output::SaveUserConfiguration(_) | Output::SetProxy(_) => Some(Input::Saved(Ok(()))),
        Output::HttpRequest(request) => {
            Some(Input::HttpAnswer { id: request.id, answer: Err(HttpFailure::NotReached) })
        }
        Output::Flush { .. } => Some(Input::Flushed(Err(apphost::NotSent::NotConnected))),
        Output::Connect | Output::Disconnect | Output::Handled(_) => None,
        Output::HttpCancel(_) | Output::HttpResponse(_) => None,
        Output::Failed { .. } | Output::RestartRequested | Output::Sleep(_) => None,
    })
}
