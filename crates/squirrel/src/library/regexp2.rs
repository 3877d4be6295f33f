//! `regexp2`: patterns in RE2's syntax, matched in time linear in the text and in the pattern.

use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use regex_automata::{Anchored, Input, PatternID};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, Look};

use super::regexp::{captured, span};
use super::{LibraryBuilder, int_arg, str_arg, wrong_type};
use crate::heap::Heap;
use crate::heap::object::Payload;
use crate::throw::Throw;
use crate::value::Value;

/// The longest pattern in bytes, as the dialect has it.
const PATTERN_MAX: usize = 256;
/// The largest compiled pattern in bytes.
const COMPILED_MAX: usize = 128 * 1024;
/// The most bytes that a search keeps groups in.
const GROUPS_BYTES_MAX: usize = 256 * 1024;
/// The most states x bytes of text of one search, times what copying its groups costs.
const SEARCH_MAX: usize = 1 << 20;
/// Bytes of a pattern's parts beside its states.
const PARTS_BYTES: usize = 1024;
/// Groups' bounds that are copied in the time of one step.
const SLOTS_OF_STEP: usize = 8;
/// What a pattern that is refused is charged for: it may be one that fills the limit.
const REFUSED_WORK: usize = COMPILED_MAX / 16;

/// A compiled pattern: first as it is, then for the whole text.
#[derive(Clone, Debug)]
pub(crate) struct Regexp2(PikeVM);

/// The number of the pattern for the whole text.
const WHOLE: usize = 1;

impl Regexp2 {
    fn new(pattern: &[u8]) -> Result<Regexp2, Throw> {
        let wrong = |e: String| Throw::Message(format!("regexp2: {}", e.lines().last().unwrap_or_default()));
        let text = std::str::from_utf8(pattern).map_err(|e| wrong(e.to_string()))?;
        if text.len() > PATTERN_MAX {
            return Err(wrong(format!("the pattern is longer than {PATTERN_MAX} bytes")));
        }
        let mut parser = ParserBuilder::new().unicode(false).utf8(false).nest_limit(50).build();
        let part = parser.parse(text).map_err(|e| wrong(e.to_string()))?;
        let whole = Hir::concat(vec![Hir::look(Look::Start), part.clone(), Hir::look(Look::End)]);
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(COMPILED_MAX));
        let nfa = thompson::Compiler::new().configure(config).build_many_from_hir(&[part, whole]);
        let vm = PikeVM::new_from_nfa(nfa.map_err(|e| wrong(e.to_string()))?).map_err(|e| wrong(e.to_string()))?;
        let nfa = vm.get_nfa();
        if nfa.states().len().saturating_mul(nfa.group_info().slot_len()) > GROUPS_BYTES_MAX / 8 {
            return Err(wrong("the pattern has too many groups".to_owned()));
        }
        Ok(Regexp2(vm))
    }

    /// Bytes of the compiled pattern.
    pub(crate) fn bytes(&self) -> usize {
        self.0.get_nfa().memory_usage() + PARTS_BYTES
    }

    /// Steps that a search takes for each byte of text at most.
    fn steps_of_byte(&self) -> usize {
        let nfa = self.0.get_nfa();
        nfa.states().len().saturating_mul(1 + nfa.group_info().slot_len() / SLOTS_OF_STEP)
    }

    /// The groups' bounds; `usize::MAX` for a group that did not take part.
    fn run(&self, text: &[u8], start: usize, whole: bool, work: &mut usize) -> Result<Option<Vec<usize>>, Throw> {
        let steps = self.steps_of_byte().saturating_mul(text.len() - start + 1);
        if steps > SEARCH_MAX {
            return Err(Throw::message("regexp2: the text is too long for this pattern"));
        }
        *work = steps / 8;
        let anchored = if whole { Anchored::Pattern(PatternID::new_unchecked(WHOLE)) } else { Anchored::No };
        let input = Input::new(text).range(start..).anchored(anchored);
        let mut captures = self.0.create_captures();
        self.0.search(&mut self.0.create_cache(), &input, &mut captures);
        let bounds = |i| captures.get_group(i).map_or([usize::MAX; 2], |span| [span.start, span.end]);
        Ok(captures.is_match().then(|| (0..captures.group_len()).flat_map(bounds).collect()))
    }
}

impl LibraryBuilder {
    /// Adds `regexp2` to the root table: linear-time patterns in RE2's syntax, which only agents have.
    pub fn regexp2(&mut self) {
        let (root, class) = (self.root(), self.class("regexp2"));
        self.regexp2_class = class.0;
        self.native(root, "regexp2", 1..=1, make);
        self.native(class, "match", 1..=1, |heap, args| Ok(Value::Bool(execute(heap, args, true)?.is_some())));
        self.native(class, "search", 1..=2, |heap, args| match execute(heap, args, false)? {
            Some(groups) => span(heap, groups[0], groups[1]),
            None => Ok(Value::Null),
        });
        self.native(class, "capture", 1..=2, |heap, args| match execute(heap, args, false)? {
            Some(groups) => captured(heap, &groups),
            None => Ok(Value::Null),
        });
    }
}

fn make(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let regexp = Regexp2::new(str_arg(heap, args, 1)?).inspect_err(|_| heap.work(REFUSED_WORK))?;
    let bytes = regexp.bytes();
    heap.work(bytes / 16);
    heap.charge(bytes)?;
    let class = heap.library.regexp2_class;
    let made = heap.host_object(class, Payload::Regexp2(Box::new(regexp)));
    if made.is_err() {
        heap.release(bytes);
    }
    made
}

fn execute(heap: &mut Heap, args: &[Value], whole: bool) -> Result<Option<Vec<usize>>, Throw> {
    let start = if args.len() > 2 { int_arg(args, 2)? } else { 0 };
    let Value::Host(id) = args[0] else { return Err(wrong_type(0, args[0], "regexp2")) };
    let Payload::Regexp2(regexp) = &heap.hosts.get(id).payload else {
        return Err(wrong_type(0, args[0], "regexp2"));
    };
    let text = str_arg(heap, args, 1)?;
    let Some(start) = usize::try_from(start).ok().filter(|&n| n <= text.len()) else { return Ok(None) };
    let mut work = 0;
    let found = regexp.run(text, start, whole, &mut work);
    heap.work(work);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pattern: &str, text: &str, whole: bool) -> Option<Vec<usize>> {
        Regexp2::new(pattern.as_bytes()).unwrap().run(text.as_bytes(), 0, whole, &mut 0).unwrap()
    }

    #[test]
    fn patterns_match_anywhere_or_the_whole_text() {
        assert_eq!(groups("a(b+)c", "xabbc", false), Some(vec![1, 5, 2, 4]));
        assert_eq!(groups("a|ab", "ab", true), Some(vec![0, 2]));
        assert_eq!(groups("a|ab", "ab", false), Some(vec![0, 1]));
        assert_eq!(groups("a", "ab", true), None);
        assert_eq!(groups("(a)|(b)", "b", false), Some(vec![0, 1, usize::MAX, usize::MAX, 0, 1]));
        assert_eq!(groups("(?i)HELLO\\s\\d{2}", "hello 42", true), Some(vec![0, 8]));
    }

    #[test]
    fn bombs_are_refused_or_take_linear_time() {
        let exact = "a".repeat(PATTERN_MAX);
        assert!(Regexp2::new(exact.as_bytes()).is_ok());
        assert!(Regexp2::new((exact + "a").as_bytes()).is_err());
        assert!(Regexp2::new(b"((a{100}){100}){100}").is_err());
        assert!(Regexp2::new("(".repeat(60).as_bytes()).is_err());
        assert!(Regexp2::new(b"(").is_err());
        assert_eq!(groups("(a*)*(a*)*b", &"a".repeat(5000), false), None);
        let long = vec![b'a'; SEARCH_MAX];
        assert!(Regexp2::new(b"(a*)*b").unwrap().run(&long, 0, false, &mut 0).is_err());
    }
}
