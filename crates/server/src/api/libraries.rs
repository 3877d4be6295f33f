//! Libraries: added once per version, listed, and found by deployments that ask for them with `#require`.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use squirrel::{CompileError, CompileOptions, Required, Source, compile, require};
use tokio::runtime::Handle;

use super::Central;
use super::document::{Relationships, Resource, SelfLink, created, many, time};
use super::error::ApiError;
use super::query::Asked;
use super::request::{Bearer, Document, Json};
use crate::fleet::{AccountId, DeploymentId, DeviceGroup, EnvVar, Invalid, Library};
use crate::store::{Store, unix_ms};

#[derive(Serialize)]
struct Attributes {
    name: String,
    version: String,
    sha256: String,
    created_at: String,
}

/// The caller's own libraries.
pub(super) async fn list(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    asked: Asked,
) -> Result<Response, ApiError> {
    asked.filters.only(&[])?;
    let listed = central.store.libraries(caller.account, asked.paging.page).await?;
    Ok(many(&asked.paging, listed, |library| show(&central, library)))
}

pub(super) async fn create(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    data.expect("library")?;
    let text = |name| data.text(name).map(Option::unwrap_or_default);
    let (name, version, code) = (text("name")?, text("version")?, text("code")?);
    let most = central.limits.code_bytes;
    if code.is_empty() || code.len() > most {
        return Err(Invalid(format!("the code of a library has 1 to {most} bytes")).into());
    }
    Ok(created(show(&central, central.store.add_library(caller.account, name, version, code).await?)))
}

fn show(central: &Central, library: Library) -> Resource<Attributes> {
    let id = format!("{}:{}", library.name, library.version);
    Resource {
        kind: "library",
        links: SelfLink { this: format!("{}/libraries/{id}", central.base) },
        id,
        attributes: Attributes {
            name: library.name,
            version: library.version,
            sha256: const_hex::encode(library.sha256),
            created_at: time(library.added_ms),
        },
        relationships: Relationships::default().with("owner", "account", library.owner),
    }
}

/// What code is compiled with: its owner's libraries, constants about its deployment, and the environment variables of its group.
#[derive(Clone)]
pub(super) struct Surroundings {
    store: Store,
    owner: AccountId,
    /// Enumerations, by name.
    constants: [(&'static str, String); 2],
}

impl Surroundings {
    pub(super) async fn of(
        store: &Store,
        group: &DeviceGroup,
        deployment: DeploymentId,
        sha: &str,
    ) -> Result<Self, ApiError> {
        let product = store.product(group.product).await?.map(|product| product.name).unwrap_or_default();
        let entries = [
            ("PRODUCT_ID", group.product.to_string()),
            ("PRODUCT_NAME", product),
            ("DEVICEGROUP_ID", group.id.to_string()),
            ("DEVICEGROUP_NAME", group.name.clone()),
            ("DEVICEGROUP_TYPE", group.kind.short().to_owned()),
            ("DEPLOYMENT_ID", deployment.to_string()),
            ("DEPLOYMENT_SHA", sha.to_owned()),
            ("DEPLOYMENT_CREATED_AT", time(unix_ms())),
        ];
        let entries: String = entries.iter().map(|(name, value)| format!("{name} = {},\n", quoted(value))).collect();
        let literal = |value: &EnvVar| match value {
            EnvVar::Text(text) => quoted(text),
            EnvVar::Whole(whole) => whole.to_string(),
            EnvVar::Real(real) => format!("{real:?}"),
        };
        let vars: String =
            group.env_vars.iter().map(|(name, value)| format!("{name} = {},\n", literal(value))).collect();
        let constants = [("__EI", entries), ("__VARS", vars)];
        let constants = constants.map(|(name, entries)| (name, format!("enum {name} {{\n{entries}}}\n")));
        Ok(Self { store: store.clone(), owner: group.owner, constants })
    }

    /// Compiles a source with what it asks for. Blocks: for threads that may.
    pub(super) fn compile(&self, name: &str, text: &str) -> Result<Vec<u8>, CompileError> {
        let code = Source { name, text: text.as_bytes() };
        let libraries = require(&[code], |required| self.find(required))?;
        let mut sources: Vec<Source<'_>> =
            libraries.iter().map(|library| Source { name: &library.name, text: &library.text }).collect();
        sources.push(code);
        // Code that does not ask for the constants is the same image in every group.
        for (name, text) in &self.constants {
            let word = name.as_bytes();
            if sources.iter().any(|source| source.text.windows(word.len()).any(|found| found == word)) {
                sources.insert(0, Source { name, text: text.as_bytes() });
            }
        }
        Ok(compile(&sources, &CompileOptions::default())?.to_image())
    }

    fn find(&self, Required { name, version, .. }: &Required) -> Result<Vec<u8>, String> {
        let found = Handle::current().block_on(self.store.library_code(self.owner, name, version));
        match found {
            Ok(Some(code)) => Ok(code.into_bytes()),
            Ok(None) => {
                Err(format!("there is no library {name} in version {version}: add it with `vouch library add`"))
            }
            Err(_) => Err(format!("the library {name} could not be read; the server's log says why")),
        }
    }
}

/// A string of the language that is `text`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Names hold no other control characters.
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_string() {
        assert_eq!(quoted("a\"b\\c\nd\re"), "\"a\\\"b\\\\c\\nde\"");
    }
}
