//! What the card's firmware stands on: PINs, files in parts, wrapped keys, and the core, each from the library that has it.

use trussed::Platform as Hardware;
use trussed::backend::{Backend as _, BackendId};
use trussed::serde_extensions::{ExtensionDispatch, ExtensionId, ExtensionImpl};
use trussed::service::ServiceResources;
use trussed::types::Context;
use trussed_auth::AuthExtension;
use trussed_auth_backend::{AuthBackend, AuthContext, FilesystemLayout};
use trussed_chunked::ChunkedExtension;
use trussed_core::Error;
use trussed_core::api::{Reply, Request, reply, request};
use trussed_core::types::Location;
use trussed_hpke::HpkeExtension;
use trussed_staging::{StagingBackend, StagingContext};
use trussed_wrap_key_to_file::WrapKeyToFileExtension;

/// Who is asked, in this order.
pub const BACKENDS: &[BackendId<Backend>] =
    &[BackendId::Custom(Backend::Staging), BackendId::Custom(Backend::Auth), BackendId::Core];

/// A library beside the core.
#[derive(Clone, Copy)]
pub enum Backend {
    /// PINs.
    Auth,
    /// Files in parts, wrapped keys.
    Staging,
}

/// What a library can do beyond the core.
#[derive(Clone, Copy)]
pub enum Extension {
    /// PINs.
    Auth,
    /// Files in parts.
    Chunked,
    /// Encryption to a public key.
    Hpke,
    /// Keys in files.
    WrapKeyToFile,
}

/// The libraries.
pub struct Platform {
    auth: AuthBackend,
    staging: StagingBackend,
}

/// What they remember of the card.
#[derive(Default)]
pub struct Memory {
    auth: AuthContext,
    staging: StagingContext,
}

impl Platform {
    /// As in a new card.
    pub fn new() -> Platform {
        Platform { auth: AuthBackend::new(Location::Internal, FilesystemLayout::V0), staging: StagingBackend::new() }
    }
}

impl ExtensionDispatch for Platform {
    type BackendId = Backend;
    type Context = Memory;
    type ExtensionId = Extension;

    fn core_request<P: Hardware>(
        &mut self,
        backend: &Backend,
        context: &mut Context<Memory>,
        request: &Request,
        resources: &mut ServiceResources<P>,
    ) -> Result<Reply, Error> {
        let Context { core, backends, .. } = context;
        match backend {
            Backend::Auth => self.auth.request(core, &mut backends.auth, request, resources),
            Backend::Staging => self.staging.request(core, &mut backends.staging, request, resources),
        }
    }

    fn extension_request<P: Hardware>(
        &mut self,
        backend: &Backend,
        extension: &Extension,
        context: &mut Context<Memory>,
        request: &request::SerdeExtension,
        resources: &mut ServiceResources<P>,
    ) -> Result<reply::SerdeExtension, Error> {
        let (core, memory) = (&mut context.core, &mut context.backends);
        macro_rules! staging {
            ($extension:ty) => {
                ExtensionImpl::<$extension>::extension_request_serialized(
                    &mut self.staging,
                    core,
                    &mut memory.staging,
                    request,
                    resources,
                )
            };
        }
        match (backend, extension) {
            (Backend::Auth, Extension::Auth) => {
                self.auth.extension_request_serialized(core, &mut memory.auth, request, resources)
            }
            (Backend::Staging, Extension::Chunked) => staging!(ChunkedExtension),
            (Backend::Staging, Extension::Hpke) => staging!(HpkeExtension),
            (Backend::Staging, Extension::WrapKeyToFile) => staging!(WrapKeyToFileExtension),
            _ => Err(Error::RequestNotAvailable),
        }
    }
}

macro_rules! extension {
    ($extension:ty, $id:ident) => {
        impl ExtensionId<$extension> for Platform {
            type Id = Extension;
            const ID: Extension = Extension::$id;
        }
    };
}

extension!(AuthExtension, Auth);
extension!(ChunkedExtension, Chunked);
extension!(HpkeExtension, Hpke);
extension!(WrapKeyToFileExtension, WrapKeyToFile);

const ALL: [Extension; 4] = [Extension::Auth, Extension::Chunked, Extension::Hpke, Extension::WrapKeyToFile];

impl From<Extension> for u8 {
    fn from(extension: Extension) -> u8 {
        extension as u8
    }
}

impl TryFrom<u8> for Extension {
    type Error = Error;

    fn try_from(id: u8) -> Result<Extension, Error> {
        ALL.get(usize::from(id)).copied().ok_or(Error::InternalError)
    }
}
