//! The storage root, sealed to the registers that the spec names, together with which counter belongs to it.

use tss_esapi::{
    constants::{SessionType, Tss2ResponseCodeKind},
    handles::ObjectHandle,
    interface_types::{
        algorithm::HashingAlgorithm,
        session_handles::{AuthSession, PolicySession},
    },
    structures::{Digest, PcrSelectionList, PcrSelectionListBuilder, PcrSlot, SensitiveData},
};

use super::{
    connection::{Connection, Tpm, TpmError, Wrapped, end_session, is_kind, refused, start_session},
    counter::CounterIndex,
    template,
};
use crate::storage::{KEY_BYTES, StorageRoot};

/// What is sealed: the root, and the index of the counter, so that nobody can name another counter that stands where an old
/// vault would fit.
pub(crate) struct Sealed {
    pub(crate) root: StorageRoot,
    pub(crate) counter: CounterIndex,
}

impl Tpm {
    /// Seals to the registers as they are now.
    pub(crate) fn seal(&self, sealed: &Sealed) -> Result<Wrapped, TpmError> {
        let data = [&sealed.root.expose()[..], &sealed.counter.to_bytes()].concat();
        let data = SensitiveData::try_from(data).map_err(refused("take a secret"))?;
        self.with(|tpm| {
            let policy = match registers(tpm)? {
                Some(registers) => Some(tpm.policy_digest(&registers)?),
                None => None,
            };
            let public = template::sealed(policy).map_err(refused("describe sealed data"))?;
            let made = tpm.context.create(tpm.primary, public, None, Some(data), None, None);
            let made = made.map_err(refused("seal"))?;
            Ok(Wrapped { public: made.out_public, private: made.out_private })
        })
    }

    /// Unseals, if the registers are as they were.
    pub(crate) fn unseal(&self, wrapped: &Wrapped) -> Result<Sealed, TpmError> {
        self.with(|tpm| tpm.unseal(wrapped))
    }
}

impl Connection<'_> {
    pub(super) fn unseal(&mut self, wrapped: &Wrapped) -> Result<Sealed, TpmError> {
        let handle = ObjectHandle::from(self.load(wrapped)?);
        let unsealed = match registers(self)? {
            None => self.context.unseal(handle).map_err(refused("unseal"))?,
            Some(registers) => {
                let (session, policy) = self.policy(SessionType::Policy, &registers)?;
                let unsealed = self
                    .context
                    .execute_with_session(Some(AuthSession::from(policy)), |context| context.unseal(handle));
                // One that failed is over already.
                let _ = end_session(&mut self.context, session);
                if is_kind(&unsealed, Tss2ResponseCodeKind::PolicyFail) {
                    return Err(TpmError::BootStateChanged { pcrs: self.spec().pcr_list() });
                }
                unsealed.map_err(refused("unseal"))?
            }
        };
        let (root, counter) = unsealed.value().split_at_checked(KEY_BYTES).ok_or(TpmError::Form)?;
        Ok(Sealed {
            root: StorageRoot::from_bytes(root).ok_or(TpmError::Form)?,
            counter: CounterIndex::from_bytes(counter)?,
        })
    }

    /// The policy that the registers are as they are now.
    fn policy_digest(&mut self, registers: &PcrSelectionList) -> Result<Digest, TpmError> {
        let (session, policy) = self.policy(SessionType::Trial, registers)?;
        let digest = self.context.execute_without_session(|context| context.policy_get_digest(policy));
        end_session(&mut self.context, session)?;
        digest.map_err(refused("make a policy"))
    }

    fn policy(
        &mut self,
        kind: SessionType,
        registers: &PcrSelectionList,
    ) -> Result<(AuthSession, PolicySession), TpmError> {
        let session = start_session(&mut self.context, self.primary, kind)?;
        let policy = PolicySession::try_from(session).map_err(refused("make a policy"))?;
        let set = self
            .context
            .execute_without_session(|context| context.policy_pcr(policy, Digest::default(), registers.clone()));
        set.map_err(refused("make a policy"))?;
        Ok((session, policy))
    }
}

fn registers(tpm: &Connection<'_>) -> Result<Option<PcrSelectionList>, TpmError> {
    if tpm.spec().pcrs.is_empty() {
        return Ok(None);
    }
    let slot = |number: &u8| PcrSlot::try_from(1_u32 << number).map_err(refused("select registers"));
    let slots: Vec<PcrSlot> = tpm.spec().pcrs.iter().map(slot).collect::<Result<_, _>>()?;
    let list = PcrSelectionListBuilder::new().with_selection(HashingAlgorithm::Sha256, &slots).build();
    list.map(Some).map_err(refused("select registers"))
}
