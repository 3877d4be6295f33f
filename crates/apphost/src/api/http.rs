//! Requests to the agent's URL and their answers, `http.onrequest` and `httpresponse`.

use std::collections::{HashMap, VecDeque};

use squirrel::{Heap, Throw, Value, View};

use super::Reply;
use crate::app::App;
use crate::input::HttpRequest;
use crate::output::{HttpResponse, Output};
use crate::side::Side;

/// Requests that the script may still answer.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    /// The headers set so far, by the request's id.
    open: HashMap<u64, Vec<(String, String)>>,
    /// Requests that nobody waits for any more, oldest first: an answer to one is no error.
    gone: VecDeque<u64>,
}

impl Exchanges {
    pub(crate) fn gone(&mut self, id: u64, most: usize) {
        if self.open.remove(&id).is_some() {
            if self.gone.len() >= most {
                self.gone.pop_front();
            }
            self.gone.push_back(id);
        }
    }

    fn take_gone(&mut self, id: u64) -> bool {
        let place = self.gone.iter().position(|gone| *gone == id);
        place.map(|place| self.gone.remove(place)).is_some()
    }
}

impl App {
    /// `http.agenturl()`
    pub(super) fn agent_url(&mut self) -> Result<Reply, Throw> {
        let Side::Agent(agent) = &self.side else { return Err(Throw::message("only an agent has this")) };
        Ok(self.vm.build(|heap| heap.string(agent.agent_url.as_bytes()))?.into())
    }

    /// `http.onrequest(callback)`: null forgets it.
    pub(super) fn on_request(&mut self, callback: Value) -> Result<Reply, Throw> {
        let pin = self.optional_function("http.onrequest", callback)?;
        let old = std::mem::replace(&mut self.on_request, pin);
        self.forget(old);
        Ok(Value::Null.into())
    }

    /// Begins the script's event for a request; answers it here when the script cannot.
    pub(crate) fn begin_request(&mut self, request: &HttpRequest) -> Result<bool, Throw> {
        let refusal = match self.on_request {
            None => Some((404, "This agent answers no requests.\n")),
            Some(_) if self.exchanges.open.len() >= self.limits.http_open => Some((503, "Too many open requests.\n")),
            Some(_) => None,
        };
        if let Some((status, text)) = refusal {
            let (id, body) = (request.id, text.into());
            self.put(Output::HttpResponse(HttpResponse { id, status, headers: Vec::new(), body }));
            return Ok(false);
        }
        let class = self.api.response;
        let made = self.vm.build(|heap| Ok([table_of(heap, request)?, heap.object(class, request.id)?]))?;
        self.exchanges.open.insert(request.id, Vec::new());
        self.call(self.on_request, &made);
        Ok(true)
    }

    /// `response.header(name, value)`
    pub(super) fn response_header(&mut self, response: Value, name: Value, value: Value) -> Result<Reply, Throw> {
        let id = self.exchange_of(response)?;
        let name = self.text("response.header", name)?;
        let value = match self.vm.heap().view(value) {
            View::Str(_) => self.text("response.header", value)?,
            _ => String::from_utf8_lossy(&self.vm.text(value)).into_owned(),
        };
        if !is_header_name(&name) || !is_header_value(&value) {
            return Err(Throw::message("response.header: not a header's name and value"));
        }
        let most = self.limits.http_header_bytes;
        match self.exchanges.open.get_mut(&id) {
            Some(headers) => {
                let used: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                if used + name.len() + value.len() > most {
                    return Err(Throw::message(format!("response.header: more than {most} bytes of headers")));
                }
                headers.push((name, value));
            }
            None if self.exchanges.gone.contains(&id) => {}
            None => return Err(Throw::message("response.header: the response was sent already")),
        }
        Ok(Value::Null.into())
    }

    /// `response.send(status, body)`: once.
    pub(super) fn response_send(&mut self, response: Value, status: Value, body: Value) -> Result<Reply, Throw> {
        let id = self.exchange_of(response)?;
        let status = match status {
            Value::Int(status @ 100..=999) => status as u16,
            _ => return Err(Throw::message("response.send: the status is a number from 100 to 999")),
        };
        let most = self.limits.http_body_bytes;
        let body = match self.vm.heap().view(body) {
            View::Str(bytes) | View::Blob(bytes) if bytes.len() > most => {
                return Err(Throw::message(format!("response.send: the body is longer than {most} bytes")));
            }
            View::Str(bytes) | View::Blob(bytes) => bytes.to_vec(),
            View::Null => Vec::new(),
            View::Bool(_) | View::Int(_) | View::Float(_) => self.vm.text(body),
            _ => return Err(Throw::message("response.send: the body is a string or a blob")),
        };
        self.count_work(body.len() / 64);
        if let Some(headers) = self.exchanges.open.remove(&id) {
            self.put(Output::HttpResponse(HttpResponse { id, status, headers, body }));
        } else if !self.exchanges.take_gone(id) {
            return Err(Throw::message("response.send: the response was sent already"));
        }
        Ok(Value::Null.into())
    }

    fn exchange_of(&self, response: Value) -> Result<u64, Throw> {
        match self.vm.heap().handle(response) {
            Some((class, id)) if class == self.api.response => Ok(id),
            _ => Err(Throw::message("a response object was expected")),
        }
    }
}

fn table_of(heap: &mut Heap, request: &HttpRequest) -> Result<Value, Throw> {
    heap.work(request.body.len() / 64);
    let table = heap.table(5)?;
    let query = request.query.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let query = texts(heap, query)?;
    let headers = request.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
    let headers = texts(heap, headers)?;
    let method = heap.string(request.method.as_bytes())?;
    let path = heap.string(request.path.as_bytes())?;
    let body = heap.string(&request.body)?;
    for (name, value) in [("method", method), ("path", path), ("query", query), ("headers", headers), ("body", body)] {
        let name = heap.string(name.as_bytes())?;
        heap.table_insert(table, name, value)?;
    }
    Ok(table)
}

fn texts<'a>(heap: &mut Heap, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Value, Throw> {
    let table = heap.table(0)?;
    for (name, value) in pairs {
        let (name, value) = (heap.string(name)?, heap.string(value)?);
        heap.table_insert(table, name, value)?;
    }
    Ok(table)
}

/// A token of RFC 9110, section 5.6.2.
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// No control characters: a line end in a value would begin another header.
pub(super) fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte) || byte >= 0x80)
}
