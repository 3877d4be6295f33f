//! The Squirrel language as the imp dialect has it: compiler, image, virtual machine, budgets, library.
//!
//! Start at [`Vm`]. The way of a script: [`compile()`] makes a [`Program`] (which has an image form,
//! [`Program::to_image`]), a [`LibraryBuilder`] makes a [`Library`] of what the host offers,
//! [`Linked::new`] joins both once, and every [`Vm::new`] runs it.
//!
//! | module | what |
//! |---|---|
//! | `compile` | source to program: lexer, parser, code generator (feature `compile`) |
//! | `program` | instructions, the image and its checks, linking |
//! | `vm` | frames, dispatch, calls, metamethods, generators, errors, budgets |
//! | `heap` | objects in slabs, strings, tables, the collector |
//! | `library` | base functions, methods of the types, math, string, blob, regexp, date |
//!
//! It does no input or output, reads no clock and starts no thread: a VM that needs the host returns
//! [`Step::HostCall`] and goes on when it is given the answer.
#![forbid(unsafe_code)]
#![cfg_attr(all(doctest, feature = "compile"), doc = include_str!("../README.md"))]

#[cfg(feature = "compile")]
mod compile;
mod heap;
mod library;
mod program;
mod throw;
mod value;
mod vm;

#[cfg(feature = "compile")]
pub use compile::{CompileError, CompileOptions, LIBRARIES_MAX, LibrarySource, Required, Source, compile, require};
pub use heap::{Clock, Heap, TableEntries, View};
pub use library::{ClassId, Constant, Library, LibraryBuilder, NativeFn, Owner, Place};
pub use program::{ImageError, Linked, Program};
pub use throw::{Fatal, Throw};
pub use value::{Type, Value};
pub use vm::{Budgets, HostCall, Pin, ScriptError, StackEntry, Step, Vm};
