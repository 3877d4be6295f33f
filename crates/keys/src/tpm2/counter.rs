//! The counter of one device: an NV index that the TPM only ever counts up, also when it is removed and made again.

use tss_esapi::{
    attributes::NvIndexAttributesBuilder,
    constants::{Tss2ResponseCodeKind, nv_index_type::NvIndexType},
    handles::{NvIndexHandle, NvIndexTpmHandle},
    interface_types::{
        algorithm::HashingAlgorithm,
        resource_handles::{NvAuth, Provision},
    },
    structures::NvPublicBuilder,
};

use super::connection::{Connection, Tpm, TpmError, Wrapped, is_kind, refused};

/// Where counters are made: owner indexes beside those that the TCG has given away.
const FIRST_INDEX: u32 = 0x0150_0000;
const INDEXES: u32 = 0x1_0000;
/// How many taken indexes are passed over before the TPM counts as full.
const TRIES: u32 = 16;
const COUNTER_BYTES: u16 = 8;

/// The NV index of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CounterIndex(u32);

impl CounterIndex {
    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<CounterIndex, TpmError> {
        bytes.try_into().map(|bytes| CounterIndex(u32::from_be_bytes(bytes))).map_err(|_| TpmError::Form)
    }

    fn handle(self) -> Result<NvIndexTpmHandle, TpmError> {
        NvIndexTpmHandle::new(self.0).map_err(refused("name a counter"))
    }
}

impl Tpm {
    /// Makes a counter for a new device. It begins above every counter that this TPM ever had.
    pub(crate) fn create_counter(&self) -> Result<CounterIndex, TpmError> {
        self.with(|tpm| {
            let start = u32::from_be_bytes(crate::hashes::random());
            for step in 0..TRIES {
                let index = CounterIndex(FIRST_INDEX + start.wrapping_add(step) % INDEXES);
                if let Some(handle) = tpm.define(index)? {
                    // Before its first step a counter has no value.
                    tpm.step(handle)?;
                    return Ok(index);
                }
            }
            Err(TpmError::Refused { what: "make a counter", why: "no index is free".to_owned() })
        })
    }

    /// The counter that is sealed together with the storage root.
    pub(crate) fn counter(&self, sealed: &Wrapped) -> Result<u64, TpmError> {
        self.with(|tpm| {
            let index = tpm.unseal(sealed)?.counter;
            let handle = tpm.find(index)?;
            tpm.read(handle)
        })
    }

    /// Steps the counter to `to`, unless it is there already.
    pub(crate) fn advance(&self, sealed: &Wrapped, to: u64) -> Result<(), TpmError> {
        self.with(|tpm| {
            let index = tpm.unseal(sealed)?.counter;
            let handle = tpm.find(index)?;
            let counter = tpm.read(handle)?;
            if counter == to {
                return Ok(());
            }
            if counter.checked_add(1) != Some(to) {
                return Err(TpmError::Counter { counter, to });
            }
            tpm.step(handle)?;
            let counter = tpm.read(handle)?;
            if counter == to { Ok(()) } else { Err(TpmError::Counter { counter, to }) }
        })
    }

    /// Removes the counter of a device that is given up.
    pub(crate) fn remove_counter(&self, sealed: &Wrapped) -> Result<(), TpmError> {
        self.with(|tpm| {
            let index = tpm.unseal(sealed)?.counter;
            let handle = tpm.find(index)?;
            tpm.context.nv_undefine_space(Provision::Owner, handle).map_err(refused("remove a counter"))
        })
    }
}

impl Connection<'_> {
    /// `None` when the index is taken.
    fn define(&mut self, index: CounterIndex) -> Result<Option<NvIndexHandle>, TpmError> {
        let attributes = NvIndexAttributesBuilder::new()
            .with_nv_index_type(NvIndexType::Counter)
            .with_auth_write(true)
            .with_auth_read(true)
            .with_no_da(true)
            .build();
        let public = NvPublicBuilder::new()
            .with_nv_index(index.handle()?)
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes.map_err(refused("describe a counter"))?)
            .with_data_area_size(usize::from(COUNTER_BYTES))
            .build();
        let public = public.map_err(refused("describe a counter"))?;
        let defined = self.context.nv_define_space(Provision::Owner, None, public);
        if is_kind(&defined, Tss2ResponseCodeKind::NvDefined) {
            return Ok(None);
        }
        defined.map(Some).map_err(refused("make a counter"))
    }

    /// The counter at this index. Anything else that stands there could be written with the value that an old vault wants.
    fn find(&mut self, index: CounterIndex) -> Result<NvIndexHandle, TpmError> {
        let handle = index.handle()?;
        let found = self.context.execute_without_session(|context| context.tr_from_tpm_public(handle.into()));
        let found = found.map(NvIndexHandle::from).map_err(refused("find the counter"))?;
        let (public, _) = self.context.nv_read_public(found).map_err(refused("describe the counter"))?;
        match public.attributes().index_type() {
            Ok(NvIndexType::Counter) => Ok(found),
            _ => Err(TpmError::NotACounter { index: index.0 }),
        }
    }

    fn step(&mut self, handle: NvIndexHandle) -> Result<(), TpmError> {
        self.context.nv_increment(NvAuth::NvIndex(handle), handle).map_err(refused("step the counter"))
    }

    fn read(&mut self, handle: NvIndexHandle) -> Result<u64, TpmError> {
        let read = self.context.nv_read(NvAuth::NvIndex(handle), handle, COUNTER_BYTES, 0);
        let read = read.map_err(refused("read the counter"))?;
        read.value().try_into().map(u64::from_be_bytes).map_err(|_| TpmError::Form)
    }
}
