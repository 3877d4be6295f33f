//! The heap of one VM: every object in a typed slab, every byte charged against the VM's budget.

mod gc;
mod lookup;
pub(crate) mod object;
mod slab;
pub(crate) mod strings;
pub(crate) mod table;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

use crate::library::Library;
use crate::throw::{Fatal, Throw};
use crate::value::Value;
use object::{Blob, Class, Closure, Generator, HostObject, Instance, Payload};
use slab::Slab;
use strings::{SharedStrings, Strings};
use table::Table;

pub(crate) use slab::{block, block_of};
pub use view::{TableEntries, View};

/// Garbage, in bytes, that may be left when an event is over, even if little lives.
const IDLE_GARBAGE: usize = 8 * 1024;
/// The least and the most bytes between two collections in an event, whatever the budget.
const COLLECT_STEP: std::ops::RangeInclusive<usize> = 32 * 1024..=512 * 1024;
/// Work, in sixteenths of an instruction, that may wait to be charged.
const WORK_MAX: u64 = 1024;
/// Bytes of unused places that slabs may hold beyond the budget.
const SPARE_MAX: usize = 256 * 1024;
/// Bytes beyond the budget that a table may take while it moves to a greater node array.
const MOVE_MAX: usize = 256 * 1024;
/// The longest array, blob or string in elements; a longer one is refused before anything is charged.
pub(crate) const LENGTH_MAX: usize = 1 << 26;

/// The objects of one VM.
#[derive(Clone, Debug)]
pub struct Heap {
    pub(crate) strings: Strings,
    pub(crate) tables: Slab<Table>,
    pub(crate) arrays: Slab<Vec<Value>>,
    pub(crate) closures: Slab<Closure>,
    pub(crate) classes: Slab<Class>,
    pub(crate) instances: Slab<Instance>,
    pub(crate) generators: Slab<Generator>,
    pub(crate) weaks: Slab<Value>,
    pub(crate) hosts: Slab<HostObject>,
    pub(crate) cells: Slab<Value>,
    /// The one weak reference of an object.
    pub(crate) weak_of: HashMap<(u8, u32), u32>,
    pub(crate) library: Arc<Library>,
    pub(crate) root: u32,
    used: usize,
    limit: usize,
    collect_at: usize,
    /// Bytes that lived after the last collection.
    live: usize,
    /// Bytes of the budget that slabs hold beyond [`SPARE_MAX`] in unused places.
    held: usize,
    /// The time that scripts see, as the host set it.
    pub(crate) clock: Clock,
    pub(crate) random: u64,
}

/// The time that scripts see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Milliseconds since 1970.
    pub unix_ms: i64,
    /// Microseconds since some start.
    pub mono_us: u64,
}

impl Heap {
    pub(crate) fn new(library: Arc<Library>, strings: Arc<SharedStrings>, limit: usize) -> Heap {
        Heap {
            strings: Strings::new(strings),
            tables: Slab::new(),
            arrays: Slab::new(),
            closures: Slab::new(),
            classes: Slab::new(),
            instances: Slab::new(),
            generators: Slab::new(),
            weaks: Slab::new(),
            hosts: Slab::new(),
            cells: Slab::new(),
            weak_of: HashMap::new(),
            library,
            root: 0,
            used: 0,
            limit,
            collect_at: collect_step(limit),
            live: 0,
            held: 0,
            clock: Clock::default(),
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// A heap that holds a library's tables and objects already.
    pub(crate) fn from_library(
        library: &Arc<Library>,
        strings: &Arc<SharedStrings>,
        limit: usize,
    ) -> Result<Heap, Fatal> {
        let mut heap = Heap::new(Arc::clone(library), Arc::clone(strings), limit);
        for table in &library.tables {
            heap.used += Slab::<Table>::place() + table.bytes();
            heap.tables.insert(table.clone());
        }
        for host in &library.hosts {
            heap.used += Slab::<HostObject>::place();
            heap.hosts.insert(host.clone());
        }
        if heap.used > limit { Err(Fatal::Memory) } else { Ok(heap) }
    }

    /// Bytes charged to this VM now, garbage included.
    pub fn memory_used(&self) -> usize {
        self.used
    }

    /// Bytes left of the budget; exact right after [`crate::Vm::collect_garbage`].
    pub fn memory_free(&self) -> usize {
        self.limit.saturating_sub(self.used + self.held)
    }

    /// Whether so many bytes are there; for what is allocated before it can be charged.
    ///
    /// # Errors
    /// `Fatal::Memory`, as [`Heap::charge`].
    #[inline]
    pub fn ensure(&self, bytes: usize) -> Result<(), Throw> {
        if bytes > self.memory_free() { Err(Fatal::Memory.into()) } else { Ok(()) }
    }

    /// Charges `bytes` before they are allocated.
    ///
    /// # Errors
    /// `Fatal::Memory` when they are not there; the VM then collects garbage and runs the operation
    /// once more, so charge before changing anything.
    #[inline]
    pub fn charge(&mut self, bytes: usize) -> Result<(), Throw> {
        self.ensure(bytes)?;
        self.used += bytes;
        Ok(())
    }

    pub(crate) fn release(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Counts work that a native did, in elements or in bytes / 64, against the instruction budget.
    #[inline]
    pub fn work(&self, units: usize) {
        self.strings.count_work(units as u64);
    }

    /// Whether work waits that should be charged at once.
    #[inline(always)]
    pub(crate) fn has_work(&self) -> bool {
        self.strings.work() > WORK_MAX
    }

    /// Whether the collector or the instruction budget has to hear of something.
    #[inline(always)]
    pub(crate) fn wants_attention(&self) -> bool {
        self.used > self.collect_at || self.has_work()
    }

    /// Whether so much was allocated since the last collection that an idle VM should not keep it.
    pub(crate) fn has_garbage(&self) -> bool {
        self.used > (self.live + (self.live / 2).max(IDLE_GARBAGE)).min(self.collect_at)
    }

    pub(crate) fn wants_collection(&self) -> bool {
        self.used > self.collect_at
    }

    fn charge_place(&mut self, place: usize, growth: usize) -> Result<(), Throw> {
        if growth > 0 && self.used + self.spare() + growth > self.limit + SPARE_MAX {
            return Err(Fatal::Memory.into());
        }
        self.charge(place)
    }

    fn spare(&self) -> usize {
        let small = self.closures.spare() + self.classes.spare() + self.generators.spare() + self.weaks.spare();
        let big = self.tables.spare() + self.arrays.spare() + self.instances.spare() + self.cells.spare();
        small + big + self.hosts.spare() + self.strings.spare()
    }

    /// A string of these bytes.
    ///
    /// # Errors
    /// `Fatal::Memory` when the budget does not hold it.
    pub fn string(&mut self, bytes: &[u8]) -> Result<Value, Throw> {
        let keyed = Strings::key_of(bytes);
        if let Some(id) = keyed.and_then(|k| self.strings.find(bytes, k)) {
            return Ok(Value::Str(id));
        }
        self.work(bytes.len() / 64);
        self.charge_place(Strings::cost(bytes.len()), self.strings.growth())?;
        Ok(Value::Str(self.strings.insert(bytes.into(), keyed)))
    }

    /// As [`Heap::string`], taking the buffer over.
    pub(crate) fn string_from(&mut self, bytes: Vec<u8>) -> Result<Value, Throw> {
        if bytes.len() <= strings::INTERNED_MAX {
            return self.string(&bytes);
        }
        self.work(bytes.len() / 64);
        self.charge_place(Strings::cost(bytes.len()), self.strings.growth())?;
        Ok(Value::Str(self.strings.insert(bytes.into(), None)))
    }

    /// A part of a string as a string, each byte mapped.
    pub(crate) fn string_part(
        &mut self,
        id: u32,
        part: std::ops::Range<usize>,
        map: fn(&u8) -> u8,
    ) -> Result<Value, Throw> {
        let bytes = &self.strings.bytes(id)[part];
        let mut short = [0; strings::INTERNED_MAX];
        match short.get_mut(..bytes.len()) {
            Some(copy) => {
                copy.iter_mut().zip(bytes).for_each(|(to, from)| *to = map(from));
                let n = bytes.len();
                self.string(&short[..n])
            }
            None => {
                self.ensure(bytes.len())?;
                let copy = bytes.iter().map(map).collect();
                self.string_from(copy)
            }
        }
    }

    /// The bytes of a string.
    pub fn str_bytes(&self, id: u32) -> &[u8] {
        self.strings.bytes(id)
    }

    /// An empty table with room for `slots`.
    ///
    /// # Errors
    /// `Fatal::Memory` when the budget does not hold it.
    pub fn table(&mut self, slots: usize) -> Result<Value, Throw> {
        if slots > LENGTH_MAX {
            return Err(Fatal::Memory.into());
        }
        let room = Table::cost_of_room(slots);
        self.work(room / 256);
        self.charge_place(Slab::<Table>::place() + room, self.tables.growth())?;
        Ok(Value::Table(self.tables.insert(Table::with_room(slots))))
    }

    pub(crate) fn table_from(&mut self, table: Table) -> Result<Value, Throw> {
        self.charge_place(Slab::<Table>::place() + table.bytes(), self.tables.growth())?;
        Ok(Value::Table(self.tables.insert(table)))
    }

    /// Adds or replaces a slot of a table.
    ///
    /// # Errors
    /// `Fatal::Memory` when the budget does not hold it; a message when `table` is no table or the key is null.
    pub fn table_insert(&mut self, table: Value, key: Value, value: Value) -> Result<(), Throw> {
        let Value::Table(id) = table else { return Err(Throw::message("a table was expected")) };
        if key.is_null() {
            return Err(Throw::message("null cannot be used as index"));
        }
        let t = self.tables.get_mut(id);
        let (growth, before) = (t.growth(), t.bytes());
        // The old nodes are there until the last one has moved.
        let moved = if growth > 0 { before.saturating_sub(MOVE_MAX) } else { 0 };
        if growth + moved > self.limit.saturating_sub(self.used + self.held) {
            return Err(Fatal::Memory.into());
        }
        t.insert(key, value, &self.strings);
        let after = t.bytes();
        self.used = (self.used + after).saturating_sub(before);
        Ok(())
    }

    pub(crate) fn table_remove(&mut self, id: u32, key: Value) -> Option<Value> {
        let t = self.tables.get_mut(id);
        let before = t.bytes();
        let value = t.remove(key, &self.strings);
        let after = t.bytes();
        self.used = (self.used + after).saturating_sub(before);
        value
    }

    /// The value of a table's own slot.
    pub fn table_get(&self, table: Value, key: Value) -> Option<Value> {
        let Value::Table(id) = table else { return None };
        self.tables.get(id).get(key, &self.strings)
    }

    /// An array of these values.
    ///
    /// # Errors
    /// `Fatal::Memory` when the budget does not hold it.
    pub fn array(&mut self, mut items: Vec<Value>) -> Result<Value, Throw> {
        items.shrink_to_fit();
        let bytes = Slab::<Vec<Value>>::place() + block_of::<Value>(items.capacity());
        self.charge_place(bytes, self.arrays.growth())?;
        Ok(Value::Array(self.arrays.insert(items)))
    }

    /// Appends to an array.
    ///
    /// # Errors
    /// `Fatal::Memory` when the budget does not hold it; a message when it is no array.
    #[inline]
    pub fn array_push(&mut self, array: Value, item: Value) -> Result<(), Throw> {
        let Value::Array(id) = array else { return Err(Throw::message("an array was expected")) };
        self.array_reserve(id, 1)?;
        self.arrays.get_mut(id).push(item);
        Ok(())
    }

    /// Room for `more` elements, charged.
    #[inline]
    pub(crate) fn array_reserve(&mut self, id: u32, more: usize) -> Result<(), Throw> {
        let array = self.arrays.get(id);
        if array.capacity() - array.len() >= more {
            return Ok(());
        }
        let step = more.max(array.len() / 2).max(4);
        let step = if step * size_of::<Value>() > self.memory_free() { more } else { step };
        let before = block_of::<Value>(array.capacity());
        self.charge(block_of::<Value>(array.len() + step) - before)?;
        self.arrays.get_mut(id).reserve_exact(step);
        self.work(step / 8);
        Ok(())
    }

    /// A blob of these bytes, its place at the start.
    ///
    /// # Errors
    /// `Fatal::Memory` when the budget does not hold it.
    pub fn blob(&mut self, bytes: &[u8]) -> Result<Value, Throw> {
        self.ensure(bytes.len())?;
        self.blob_from(bytes.to_vec())
    }

    /// As [`Heap::blob`], taking the buffer over.
    pub(crate) fn blob_from(&mut self, bytes: Vec<u8>) -> Result<Value, Throw> {
        let (len, class) = (block(bytes.capacity()), self.library.blob_class);
        self.work(len / 64);
        self.charge(len)?;
        let made = self.host_object(class, Payload::Blob(Blob { bytes, at: 0 }));
        if made.is_err() {
            self.release(len);
        }
        made
    }

    /// The bytes of a blob; None when it is something else.
    pub fn blob_bytes(&self, value: Value) -> Option<&[u8]> {
        let Value::Host(id) = value else { return None };
        match &self.hosts.get(id).payload {
            Payload::Blob(blob) => Some(&blob.bytes),
            _ => None,
        }
    }

    /// An object of a class that the host registered, carrying the host's number.
    ///
    /// # Errors
    /// `Fatal::Memory` when the budget does not hold it.
    pub fn object(&mut self, class: crate::library::ClassId, handle: u64) -> Result<Value, Throw> {
        self.host_object(class.0, Payload::Handle(handle))
    }

    /// The class and the host's number of an object made by [`Heap::object`] or the library builder.
    pub fn handle(&self, value: Value) -> Option<(crate::library::ClassId, u64)> {
        let Value::Host(id) = value else { return None };
        let object = self.hosts.get(id);
        match object.payload {
            Payload::Handle(handle) => Some((crate::library::ClassId(object.class), handle)),
            _ => None,
        }
    }

    pub(crate) fn host_object(&mut self, class: u32, payload: Payload) -> Result<Value, Throw> {
        self.charge_place(Slab::<HostObject>::place(), self.hosts.growth())?;
        Ok(Value::Host(self.hosts.insert(HostObject { class, payload })))
    }

    pub(crate) fn closure(&mut self, closure: Closure) -> Result<Value, Throw> {
        self.charge_place(Slab::<Closure>::place() + closure.bytes(), self.closures.growth())?;
        Ok(Value::Closure(self.closures.insert(closure)))
    }

    pub(crate) fn cell(&mut self, value: Value) -> Result<Value, Throw> {
        self.charge_place(Slab::<Value>::place(), self.cells.growth())?;
        Ok(Value::Cell(self.cells.insert(value)))
    }

    pub(crate) fn class(&mut self, class: Class) -> Result<u32, Throw> {
        self.charge_place(Slab::<Class>::place() + class.bytes(), self.classes.growth())?;
        Ok(self.classes.insert(class))
    }

    pub(crate) fn instance(&mut self, class: u32) -> Result<u32, Throw> {
        let fields = self.classes.get(class).fields.len();
        self.work(fields / 16);
        self.charge_place(Slab::<Instance>::place() + block_of::<Value>(fields), self.instances.growth())?;
        let c = self.classes.get_mut(class);
        c.locked = true;
        let fields = c.fields.iter().map(|m| m.value).collect();
        Ok(self.instances.insert(Instance { class, fields }))
    }

    pub(crate) fn generator(&mut self, generator: Generator) -> Result<Value, Throw> {
        self.charge_place(Slab::<Generator>::place() + generator.bytes(), self.generators.growth())?;
        Ok(Value::Generator(self.generators.insert(generator)))
    }

    /// The weak reference of an object; scalars and strings are their own.
    pub(crate) fn weak(&mut self, target: Value) -> Result<Value, Throw> {
        let Some(name) = gc::name_of(target) else { return Ok(target) };
        if let Some(&id) = self.weak_of.get(&name) {
            return Ok(Value::Weak(id));
        }
        self.charge_place(Slab::<Value>::place() + 32, self.weaks.growth())?;
        let id = self.weaks.insert(target);
        self.weak_of.insert(name, id);
        Ok(Value::Weak(id))
    }

    /// What a slot gives when it is read: the target of a weak reference, or the value itself.
    #[inline(always)]
    pub(crate) fn read(&self, value: Value) -> Value {
        match value {
            Value::Weak(id) => *self.weaks.get(id),
            value => value,
        }
    }

    /// `==` between two values: numbers by value, strings by content, objects by identity.
    #[inline]
    pub fn equal(&self, a: Value, b: Value) -> bool {
        match (a, b) {
            (Value::Str(x), Value::Str(y)) => self.strings.equal(x, y),
            (Value::Int(x), Value::Float(y)) | (Value::Float(y), Value::Int(x)) => x as f32 == y,
            (a, b) => a == b,
        }
    }

    /// Objects that live or wait for collection.
    pub(crate) fn objects(&self) -> usize {
        let big = self.tables.len() + self.arrays.len() + self.instances.len() + self.closures.len();
        big + self.classes.len() + self.generators.len() + self.hosts.len()
    }

    /// The root table.
    pub fn root(&self) -> Value {
        Value::Table(self.root)
    }
}

/// Bytes that may be allocated before the collector looks, for a budget of this size.
fn collect_step(limit: usize) -> usize {
    (limit / 16).clamp(*COLLECT_STEP.start(), *COLLECT_STEP.end())
}
