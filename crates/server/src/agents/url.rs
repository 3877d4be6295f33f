//! The HTTP edge: requests to `/agent/{agent_id}/...` go to that agent, its answer goes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apphost::HttpRequest;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::any;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::limits::AgentLimits;
use crate::bus::{Bus, HttpCall, HttpReply};
use crate::fleet::AgentId;

/// What the path of every agent's URL begins with.
const PREFIX: &str = "/agent/";

/// Headers that belong to the connection and are the server's to set.
const OURS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// The routes of all agents' URLs. They have their own limits on bodies and time.
pub fn router(bus: Bus, limits: &AgentLimits) -> Router {
    let edge = Edge {
        bus,
        all: Arc::new(Semaphore::new(limits.requests)),
        each: Arc::new(InFlight { counts: Mutex::default(), most: limits.requests_per_agent }),
        limits: Arc::new(limits.clone()),
    };
    Router::new()
        .route("/agent/{agent_id}", any(serve))
        .route("/agent/{agent_id}/", any(serve))
        .route("/agent/{agent_id}/{*path}", any(serve))
        .with_state(edge)
}

#[derive(Clone)]
struct Edge {
    bus: Bus,
    limits: Arc<AgentLimits>,
    all: Arc<Semaphore>,
    each: Arc<InFlight>,
}

/// A refusal: its status and one line for people.
struct Refused(StatusCode, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        (self.0, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{}\n", self.1)).into_response()
    }
}

const UNKNOWN: Refused = Refused(StatusCode::NOT_FOUND, "No agent has this URL, or it is not running.");
const BUSY: Refused =
    Refused(StatusCode::SERVICE_UNAVAILABLE, "The agent has too many requests to answer; try again later.");

async fn serve(State(edge): State<Edge>, request: Request) -> Response<Body> {
    match edge.answer(request).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

impl Edge {
    async fn answer(&self, request: Request) -> Result<Response<Body>, Refused> {
        let (agent, path) = split(request.uri().path()).ok_or(UNKNOWN)?;
        let path = path.to_owned();
        // Held until the answer is there.
        let _turn = self.turn(agent)?;
        let request = self.read(path, request).await?;
        let (reply, answer) = oneshot::channel();
        match self.bus.http(&agent, Box::new(HttpCall { request, reply })) {
            None => return Err(UNKNOWN),
            Some(Err(_)) => return Err(BUSY),
            Some(Ok(())) => {}
        }
        match timeout(self.limits.response_deadline, answer).await {
            Ok(Ok(reply)) => Ok(response(reply)),
            Ok(Err(_)) => Err(Refused(StatusCode::BAD_GATEWAY, "The agent ended before it answered.")),
            Err(_) => Err(Refused(StatusCode::GATEWAY_TIMEOUT, "The agent did not answer in time.")),
        }
    }

    fn turn(&self, agent: AgentId) -> Result<(OwnedSemaphorePermit, Turn), Refused> {
        let one_of_all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| BUSY)?;
        let one_of_its = InFlight::enter(&self.each, agent).ok_or(BUSY)?;
        Ok((one_of_all, one_of_its))
    }

    async fn read(&self, path: String, request: Request) -> Result<HttpRequest, Refused> {
        let (head, body) = request.into_parts();
        let too_long = Refused(StatusCode::PAYLOAD_TOO_LARGE, "The request's body is too long or was cut off.");
        let body = timeout(self.limits.body_deadline, to_bytes(body, self.limits.body_bytes)).await;
        let body =
            body.map_err(|_| Refused(StatusCode::REQUEST_TIMEOUT, "The request's body did not arrive in time."))?;
        let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        Ok(HttpRequest {
            id: 0,
            method: head.method.as_str().to_owned(),
            path,
            query: head.uri.query().map(HttpRequest::query_pairs).unwrap_or_default(),
            headers: headers.collect(),
            body: body.map_err(|_| too_long)?.to_vec(),
        })
    }
}

/// The agent's id and what follows it.
fn split(path: &str) -> Option<(AgentId, &str)> {
    let rest = path.strip_prefix(PREFIX)?;
    let end = rest.find('/').unwrap_or(rest.len());
    Some((rest[..end].parse().ok()?, &rest[end..]))
}

fn response(reply: HttpReply) -> Response<Body> {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        let name = HeaderName::try_from(name).ok().filter(|name| !OURS.contains(name));
        if let (Some(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// How many requests each agent has to answer.
struct InFlight {
    counts: Mutex<HashMap<AgentId, usize>>,
    most: usize,
}

/// One request's place among those of its agent.
struct Turn(Arc<InFlight>, AgentId);

impl InFlight {
    fn enter(this: &Arc<Self>, agent: AgentId) -> Option<Turn> {
        let mut counts = this.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(agent).or_default();
        if *count >= this.most {
            return None;
        }
        *count += 1;
        Some(Turn(Arc::clone(this), agent))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_what_follows_the_agents_id() {
        for (path, rest) in [("", ""), ("/", "/"), ("/a/b", "/a/b"), ("//", "//"), ("/%2e", "/%2e")] {
            let url = format!("/agent/abcdefghijkl{path}");
            let (agent, found) = split(&url).unwrap();
            assert_eq!((agent.as_str(), found), ("abcdefghijkl", rest));
        }
        for wrong in ["/agent/", "/agent/abc", "/agent/abcdefghijklm", "/agent/abcdefghij/l", "/other/abcdefghijkl"] {
            assert!(split(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn an_agent_cannot_set_the_connections_headers() {
        let headers = [
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("X-A", "1"),
            ("X-A", "2"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let response = response(HttpReply { status: 299, headers, body: b"x".to_vec() });
        assert_eq!(response.status().as_u16(), 299);
        let names: Vec<_> =
            response.headers().iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        assert_eq!(names, ["x-a=1", "x-a=2"]);
    }

    #[test]
    fn each_agent_has_so_many_requests_and_not_one_more() {
        let in_flight = Arc::new(InFlight { counts: Mutex::default(), most: 2 });
        let [one, other] = ["abcdefghijkl", "abcdefghijk-"].map(|id| id.parse::<AgentId>().unwrap());
        let turns = [InFlight::enter(&in_flight, one), InFlight::enter(&in_flight, one)];
        assert!(turns.iter().all(Option::is_some));
        assert!(InFlight::enter(&in_flight, one).is_none());
        assert!(InFlight::enter(&in_flight, other).is_some());
        drop(turns);
        assert!(InFlight::enter(&in_flight, one).is_some());
        assert!(in_flight.counts.lock().unwrap().len() <= 1);
    }
}
