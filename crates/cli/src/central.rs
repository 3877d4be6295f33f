//! A client of central's API: logs in, keeps the tokens in a file of mode 0600, renews them.

use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use keys::private_file::{self, Existing, PrivateFileError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use zeroize::Zeroizing;

/// The media type of the API's documents.
const MEDIA_TYPE: &str = "application/vnd.api+json";
/// How long a request may take, but for a stream's body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Entries that are asked for at a time.
pub(crate) const PAGE_SIZE: u32 = 500;
/// The most pages that a listing is followed.
const PAGES_MAX: u32 = 1000;

/// Where the login is kept.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoginFile {
    /// The file that holds the login [default: vouch/login.json in the user's configuration folder].
    #[arg(long, env = "VOUCH_LOGIN_FILE", value_name = "FILE")]
    login_file: Option<PathBuf>,
}

impl LoginFile {
    /// A login kept in this very file.
    pub(crate) fn at(path: &Path) -> LoginFile {
        LoginFile { login_file: Some(path.to_owned()) }
    }

    fn path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.login_file {
            return Ok(path.clone());
        }
        let folder = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
            .ok_or_else(|| anyhow!("neither HOME nor XDG_CONFIG_HOME is set: name the file with --login-file"))?;
        Ok(folder.join("vouch/login.json"))
    }
}

/// What the login file holds. The tokens never leave it but in a request's header.
#[derive(Deserialize, Serialize)]
struct Login {
    central: String,
    central_ca: Option<PathBuf>,
    access_token: String,
    refresh_token: String,
}

/// A logged-in client.
pub(crate) struct Central {
    agent: Agent,
    path: PathBuf,
    login: Login,
}

impl Central {
    /// Logs in with a password and writes the login file.
    ///
    /// # Errors
    /// An address that would send the password in clear over a network, a refused login, or a file that cannot be written.
    pub(crate) fn log_in(
        file: &LoginFile,
        central: &str,
        central_ca: Option<PathBuf>,
        user: &str,
        password: &str,
    ) -> Result<Self> {
        let central = central.trim_end_matches('/').to_owned();
        check_address(&central)?;
        // The login is used from other folders too.
        let central_ca = central_ca.map(std::path::absolute).transpose().context("--central-ca names no file")?;
        let agent = agent(central_ca.as_deref())?;
        let answer = decode(
            agent
                .post(format!("{central}/v5/auth"))
                .header("Content-Type", "application/json")
                .send(json!({ "id": user, "password": password }).to_string())
                .with_context(|| format!("central at {central} does not answer: is `vouch serve` running?"))?,
        )?;
        let token = |name: &str| {
            answer[name].as_str().map(str::to_owned).ok_or_else(|| anyhow!("central's answer lacks {name}"))
        };
        let login =
            Login { central_ca, access_token: token("access_token")?, refresh_token: token("refresh_token")?, central };
        let client = Self { agent, path: file.path()?, login };
        client.save()?;
        Ok(client)
    }

    /// Opens the login that `vouch login` wrote.
    pub(crate) fn open(file: &LoginFile) -> Result<Self> {
        let path = file.path()?;
        let text = private_file::read(&path).map_err(|error| match error {
            PrivateFileError::Io { error, path } if error.kind() == io::ErrorKind::NotFound => {
                anyhow!(error).context(format!("no login in {}: run `vouch login` first", path.display()))
            }
            other => anyhow!(other).context("the login cannot be used: mend its file, or run `vouch login` again"),
        })?;
        let login: Login = serde_json::from_slice(text.expose())
            .with_context(|| format!("{} is damaged: run `vouch login` again", path.display()))?;
        check_address(&login.central)?;
        let agent = agent(login.central_ca.as_deref())?;
        Ok(Self { agent, path, login })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Value> {
        self.call("GET", path, None)
    }

    /// As [`Self::get`], but nothing when there is no such thing.
    pub(crate) fn found(&mut self, path: &str) -> Result<Option<Value>> {
        match self.get(path) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.call("POST", path, Some(body))
    }

    pub(crate) fn put(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.call("PUT", path, Some(body))
    }

    pub(crate) fn patch(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.call("PATCH", path, Some(body))
    }

    pub(crate) fn delete(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.call("DELETE", path, Some(body))
    }

    /// Sends so many bytes as they are read, however long that takes.
    pub(crate) fn upload(&mut self, path: &str, bytes: impl io::Read + 'static, length: u64) -> Result<Value> {
        // The bytes can be read once: a login that has ended is renewed before they go.
        self.get("/accounts/me")?;
        let answer = self
            .agent
            .post(self.url(path))
            .config()
            .timeout_global(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .build()
            .header("Authorization", format!("Bearer {}", self.login.access_token))
            .header("Content-Type", "application/octet-stream")
            .header("Content-Length", length.to_string())
            .send(ureq::SendBody::from_owned_reader(bytes))
            .with_context(|| format!("central at {} does not take the upload", self.login.central))?;
        decode(answer)
    }

    /// Gives a resource another name; returns it as it is then.
    pub(crate) fn rename(&mut self, collection: &str, resource: &Value, name: &str) -> Result<Value> {
        let (kind, id) = (&resource["type"], resource["id"].as_str().unwrap_or_default());
        let body = json!({ "data": { "type": kind, "id": id, "attributes": { "name": name } } });
        Ok(self.patch(&format!("/{collection}/{id}"), &body)?["data"].clone())
    }

    /// All entries of a listing, page after page.
    pub(crate) fn list(&mut self, path: &str) -> Result<Vec<Value>> {
        self.list_until(path, PAGE_SIZE, |_| false)
    }

    /// The entries of a listing, page after page of `size` until there are enough.
    pub(crate) fn list_until(
        &mut self,
        path: &str,
        size: u32,
        enough: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let mut entries = Vec::new();
        for page in 1..=PAGES_MAX {
            let join = if path.contains('?') { '&' } else { '?' };
            let answer = self.get(&format!("{path}{join}page[number]={page}&page[size]={size}"))?;
            entries.extend(answer["data"].as_array().cloned().unwrap_or_default());
            if answer["links"].get("next").is_none() || enough(&entries) {
                return Ok(entries);
            }
        }
        bail!("{path} has more than {PAGES_MAX} pages")
    }

    /// Opens a server-sent event stream; the stream's id is the only capability it needs.
    pub(crate) fn stream(&mut self, path: &str) -> Result<BufReader<impl io::Read + use<>>> {
        let answer = self
            .agent
            .get(self.url(path))
            .config()
            .timeout_global(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .build()
            .header("Accept", "text/event-stream")
            .call()
            .context("central does not answer")?;
        ensure!(answer.status().is_success(), "central refused the log stream with status {}", answer.status());
        Ok(BufReader::new(answer.into_body().into_reader()))
    }

    fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.send(method, path, body)?;
        if answer.status() != 401 {
            return decode(answer);
        }
        self.renew().context("the login has ended: run `vouch login` again")?;
        decode(self.send(method, path, body)?)
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<ureq::http::Response<ureq::Body>> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("Authorization", format!("Bearer {}", self.login.access_token))
            .header("Content-Type", MEDIA_TYPE)
            .body(body.map(Value::to_string).unwrap_or_default())?;
        self.agent
            .run(request)
            .with_context(|| format!("central at {} does not answer: is `vouch serve` running?", self.login.central))
    }

    fn renew(&mut self) -> Result<()> {
        let body = json!({ "token": self.login.refresh_token }).to_string();
        let request = self.agent.post(self.url("/auth/token")).header("Content-Type", "application/json");
        let answer = decode(request.send(body)?)?;
        self.login.access_token =
            answer["access_token"].as_str().ok_or_else(|| anyhow!("central's answer lacks access_token"))?.to_owned();
        self.save()
    }

    fn save(&self) -> Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let text = Zeroizing::new(serde_json::to_vec_pretty(&self.login)?);
        private_file::write(&self.path, &text, Existing::Replace).context("cannot write the login")
    }

    fn url(&self, path: &str) -> String {
        let path = path.replace('[', "%5B").replace(']', "%5D");
        format!("{}/v5{path}", self.login.central)
    }
}

/// A text as one part of a path or of a query (RFC 3986, section 2.3).
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Asks an agent's URL as anybody may: status and body.
pub(crate) fn ask(method: &str, url: &str, body: &str) -> Result<(u16, String)> {
    let request = ureq::http::Request::builder().method(method).uri(url).body(body.to_owned())?;
    let mut answer = agent(None)?.run(request).with_context(|| format!("{url} does not answer"))?;
    Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
}

/// Reads a public file of a server, at most `most` bytes of it; none when there is none.
pub(crate) fn read_public(url: &str, ca: Option<&Path>, most: u64) -> Result<Option<Vec<u8>>> {
    let mut answer = agent(ca)?.get(url).call().with_context(|| format!("{url} does not answer"))?;
    if answer.status() == 404 {
        return Ok(None);
    }
    let body = answer.body_mut().with_config().limit(most).read_to_vec();
    let body = body.with_context(|| format!("{url} breaks off, or has more than {most} bytes"))?;
    ensure!(answer.status().is_success(), "{url} answered {}: {}", answer.status(), String::from_utf8_lossy(&body));
    Ok(Some(body))
}

fn agent(ca: Option<&Path>) -> Result<Agent> {
    let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(keys::tls::https_provider());
    if let Some(path) = ca {
        let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut roots: Vec<Certificate<'static>> = Vec::new();
        for item in ureq::tls::parse_pem(&pem) {
            if let PemItem::Certificate(certificate) = item.with_context(|| format!("{} is not PEM", path.display()))? {
                roots.push(certificate);
            }
        }
        ensure!(!roots.is_empty(), "{} holds no certificate", path.display());
        tls = tls.root_certs(RootCerts::new_with_certs(&roots));
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Every request has a connection of its own: a kept one may be closed by the server at the very moment it is used again.
        .max_idle_connections(0)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(REQUEST_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .tls_config(tls.build())
        .build();
    Ok(config.new_agent())
}

/// A password or token may cross this machine's loopback in clear, and no network. The address is read as the HTTP client reads it.
fn check_address(central: &str) -> Result<()> {
    let uri = central.parse::<Uri>().ok().filter(|uri| uri.query().is_none() && !central.contains('#'));
    let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    // An address with a password in it is not repeated.
    ensure!(!central.contains('@'), "the address of central holds no user name: give it with --user");
    let (scheme, authority) = parts.ok_or_else(|| {
        anyhow!(
            "{central:?} is no address of central: write https://HOST, or http://127.0.0.1:PORT on the same machine"
        )
    })?;
    let host = authority.host().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    ensure!(
        scheme == "https" || (scheme == "http" && loopback),
        "{scheme}:// to {host} would send the login in clear over the network: use https://, or a tunnel to loopback"
    );
    Ok(())
}

fn decode(mut answer: ureq::http::Response<ureq::Body>) -> Result<Value> {
    let status = answer.status();
    let text = answer.body_mut().read_to_string().context("central's answer broke off")?;
    let value: Value =
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    if status.is_success() {
        return Ok(value);
    }
    Err(Refused { status: status.as_u16(), body: value }.into())
}

/// An answer of central that is not a success.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        if errors.is_empty() {
            return write!(f, "central answered with status {}", self.status);
        }
        for (index, error) in errors.iter().enumerate() {
            let text = |name: &str| error[name].as_str().unwrap_or_default();
            write!(f, "{}{}: {}", if index == 0 { "" } else { "; " }, text("title"), text("detail"))?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_stays_on_loopback() {
        for good in ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080", "https://central.example"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in [
            "http://central.example",
            "http://192.0.2.1:8080",
            "http://localhost.example",
            "http://127.0.0.1:80@central.example",
            "http://[::1]:80@central.example",
            "http://localhost:80?@central.example",
            "https://central.example?x",
            "https://central.example#x",
            "ftp://localhost",
            "central",
            "",
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
        assert!(!check_address("https://admin:secret@central.example").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn what_people_type_stays_one_part_of_a_path() {
        assert_eq!(encoded("a-1._~"), "a-1._~");
        assert_eq!(encoded("a/b?c=d&e #\u{fc}"), "a%2Fb%3Fc%3Dd%26e%20%23%C3%BC");
    }

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        let body = json!({ "errors": [{ "title": "Invalid Credentials", "detail": "try again" }] });
        assert_eq!(Refused { status: 401, body }.to_string(), "Invalid Credentials: try again");
        assert_eq!(Refused { status: 502, body: Value::Null }.to_string(), "central answered with status 502");
    }
}
