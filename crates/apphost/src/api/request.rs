//! Requests that an agent makes: `http.get` and its like, `httprequest`.

use std::collections::{HashMap, VecDeque};

use squirrel::{Heap, Pin, Throw, Value, View};

use super::Reply;
use super::http::{is_header_name, is_header_value};
use crate::app::{App, Phase, exhausted};
use crate::credit::Credit;
use crate::input::{HttpAnswer, HttpFailure, Input};
use crate::output::{OutgoingRequest, Output};

/// The wait for an answer when the script names none, and the longest, seconds.
const TIMEOUT_S: f64 = 600.0;
/// What a script names for the longest.
pub(super) const NO_TIMEOUT: i32 = -1;
/// The status of a request that was not made for want of credit, as the imp gives it.
const TOO_MANY: u16 = 429;

/// Requests that the script made.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Not sent yet, oldest first.
    made: VecDeque<OutgoingRequest>,
    /// Sent; the callback, or none while the script itself waits.
    sent: HashMap<u64, Option<Pin>>,
    credit: Credit,
    last: u64,
}

impl Requests {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { made: VecDeque::new(), sent: HashMap::new(), credit: Credit::full(now_ms), last: 0 }
    }

    fn made_bytes(&self) -> usize {
        self.made.iter().map(OutgoingRequest::weight).sum()
    }
}

impl App {
    /// `http.request(method, url, headers, body)`, and with the method given `http.get(url[, headers])` and its like.
    pub(super) fn request(&mut self, method: &str, url: Value, headers: Value, body: Value) -> Result<Reply, Throw> {
        let call = "http.request";
        let url = self.text(call, url)?;
        if !is_header_name(method) || method.len() > 32 || url.len() > self.limits.http_header_bytes {
            return Err(Throw::message(format!("{call}: not a method, or the URL is too long")));
        }
        let headers = self.request_headers(headers)?;
        let most = self.limits.http_body_bytes;
        let body = match self.vm.heap().view(body) {
            View::Null => Vec::new(),
            View::Str(bytes) | View::Blob(bytes) if bytes.len() <= most => bytes.to_vec(),
            View::Str(_) | View::Blob(_) => {
                return Err(Throw::message(format!("{call}: the body is longer than {most} bytes")));
            }
            _ => return Err(Throw::message(format!("{call}: the body is a string or a blob"))),
        };
        self.count_work(body.len() / 64);
        self.requests.last += 1;
        let id = self.requests.last;
        let Some(class) = self.api.request else { return Err(Throw::message("only an agent has this")) };
        let object = self.vm.build(|heap| heap.object(class, id))?;
        self.requests.made.push_back(OutgoingRequest {
            id,
            method: method.to_owned(),
            url,
            headers,
            body,
            timeout_ms: 0,
        });
        // A script that makes requests and sends none of them keeps the newest.
        while self.requests.made.len() > self.limits.http_made
            || (self.requests.made.len() > 1 && self.requests.made_bytes() > self.limits.http_body_bytes)
        {
            self.requests.made.pop_front();
        }
        Ok(object.into())
    }

    /// `http.request(method, ..)`
    pub(super) fn request_by(&mut self, arguments: &[Value]) -> Result<Reply, Throw> {
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let method = self.text("http.request", argument(0))?.to_ascii_uppercase();
        self.request(&method, argument(1), argument(2), argument(3))
    }

    fn request_headers(&self, headers: Value) -> Result<Vec<(String, String)>, Throw> {
        let wrong = || Throw::message("http.request: headers are a table of names and values");
        let heap = self.vm.heap();
        if !matches!(heap.view(headers), View::Null | View::Table(_)) {
            return Err(wrong());
        }
        let mut list = Vec::new();
        let mut bytes = 0;
        for (name, value) in heap.entries(headers) {
            let name = self.text("http.request", name)?;
            let value = match heap.view(value) {
                View::Str(text) => String::from_utf8_lossy(text).into_owned(),
                View::Bool(_) | View::Int(_) | View::Float(_) => {
                    String::from_utf8_lossy(&self.vm.text(value)).into_owned()
                }
                _ => return Err(wrong()),
            };
            bytes += name.len() + value.len();
            if bytes > self.limits.http_header_bytes || !is_header_name(&name) || !is_header_value(&value) {
                return Err(wrong());
            }
            list.push((name, value));
        }
        Ok(list)
    }

    /// `httprequest.sendasync(callback[, null, seconds])`
    pub(super) fn send_async(
        &mut self,
        this: Value,
        callback: Value,
        stream: Value,
        seconds: Value,
    ) -> Result<Reply, Throw> {
        if !stream.is_null() {
            return Err(Throw::message("httprequest.sendasync: answers come whole, a second callback is never called"));
        }
        let seconds = match seconds {
            Value::Null | Value::Int(NO_TIMEOUT) => TIMEOUT_S,
            seconds => self.number("httprequest.sendasync", seconds)?,
        };
        if !(seconds > 0.0 && seconds <= TIMEOUT_S) {
            return Err(Throw::message(format!("httprequest.sendasync: the time is at most {TIMEOUT_S} seconds")));
        }
        self.expect_function("httprequest.sendasync", callback)?;
        let request = self.take_made(this)?;
        let id = request.id;
        let callback = self.vm.pin(callback);
        let may = self.may_request();
        self.requests.sent.insert(id, Some(callback));
        if may {
            self.put(Output::HttpRequest(Box::new(OutgoingRequest {
                timeout_ms: (seconds * 1000.0).ceil() as u64,
                ..request
            })));
        } else {
            self.queue.push_back(Input::HttpAnswer { id, answer: Ok(HttpAnswer::empty(TOO_MANY)) });
        }
        Ok(this.into())
    }

    /// `httprequest.sendsync()`: the script waits for the answer, which is returned.
    pub(super) fn send_sync(&mut self, this: Value) -> Result<Reply, Throw> {
        let request = self.take_made(this)?;
        if !self.may_request() {
            return Ok(self.vm.build(|heap| table_of(heap, &HttpAnswer::empty(TOO_MANY)))?.into());
        }
        self.requests.sent.insert(request.id, None);
        self.phase = Phase::Requesting(request.id);
        let timeout_ms = (TIMEOUT_S * 1000.0) as u64;
        self.put(Output::HttpRequest(Box::new(OutgoingRequest { timeout_ms, ..request })));
        Ok(Reply::Wait)
    }

    /// `httprequest.cancel()`: its callback is not called any more.
    pub(super) fn cancel_request(&mut self, this: Value) -> Result<Reply, Throw> {
        let id = self.request_id(this)?;
        if let Some(callback) = self.requests.sent.remove(&id) {
            self.forget(callback);
            self.put(Output::HttpCancel(id));
        }
        self.requests.made.retain(|request| request.id != id);
        Ok(Value::Null.into())
    }

    fn may_request(&mut self) -> bool {
        self.requests.sent.len() < self.limits.http_out_open && self.requests.credit.take(self.now.mono_ms)
    }

    fn take_made(&mut self, this: Value) -> Result<OutgoingRequest, Throw> {
        let id = self.request_id(this)?;
        let place = self.requests.made.iter().position(|request| request.id == id);
        place.and_then(|place| self.requests.made.remove(place)).ok_or_else(|| {
            Throw::message("httprequest: it was sent or cancelled already, or many others were made after it")
        })
    }

    fn request_id(&self, this: Value) -> Result<u64, Throw> {
        match self.vm.heap().view(this) {
            View::Object(class, id) if Some(class) == self.api.request => Ok(id),
            _ => Err(Throw::message("a request was expected")),
        }
    }

    /// Takes an answer: resumes the script that waits for it, or keeps it until its callback's turn.
    pub(crate) fn http_answered(&mut self, id: u64, answer: Result<HttpAnswer, HttpFailure>) {
        if matches!(self.phase, Phase::Requesting(waits) if waits == id) {
            self.requests.sent.remove(&id);
            self.phase = Phase::Running;
            let answer = whole(answer);
            match self.vm.build(|heap| table_of(heap, &answer)) {
                Ok(table) => self.vm.resume(Ok(table)),
                Err(Throw::Fatal(fatal)) => self.fail(&exhausted(fatal)),
                Err(_) => self.vm.resume(Err("the answer could not be read".to_owned())),
            }
        } else if self.requests.sent.contains_key(&id) {
            self.queue.push_back(Input::HttpAnswer { id, answer });
        }
    }

    /// Begins the callback of an answer, unless it was cancelled.
    pub(crate) fn begin_answer(&mut self, id: u64, answer: Result<HttpAnswer, HttpFailure>) -> Result<bool, Throw> {
        let Some(callback) = self.requests.sent.remove(&id).flatten() else { return Ok(false) };
        let answer = whole(answer);
        let table = self.vm.build(|heap| table_of(heap, &answer))?;
        self.call_once_with(callback, &[table]);
        Ok(true)
    }
}

/// A failure as the imp shows it: a number below 100 in place of a status.
fn whole(answer: Result<HttpAnswer, HttpFailure>) -> HttpAnswer {
    answer.unwrap_or_else(|failure| HttpAnswer::empty(failure as u16))
}

fn table_of(heap: &mut Heap, answer: &HttpAnswer) -> Result<Value, Throw> {
    heap.work(answer.body.len() / 64);
    let table = heap.table(3)?;
    let headers = heap.table(answer.headers.len())?;
    for (name, value) in &answer.headers {
        let (name, value) = (heap.string(name.as_bytes())?, heap.string(value)?);
        heap.table_insert(headers, name, value)?;
    }
    let body = heap.string(&answer.body)?;
    for (name, value) in [("statuscode", Value::Int(answer.status.into())), ("headers", headers), ("body", body)] {
        let name = heap.string(name.as_bytes())?;
        heap.table_insert(table, name, value)?;
    }
    Ok(table)
}
