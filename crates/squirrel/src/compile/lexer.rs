//! Source bytes to tokens.

use super::lines::Lines;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    End,
    Name(Vec<u8>),
    Str(Vec<u8>),
    Int(i32),
    Float(f32),
    /// A keyword.
    Key(&'static str),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// A token with its place.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) token: Token,
    pub(crate) row: u32,
    pub(crate) column: u32,
    /// Whether it is the first token of its line.
    pub(crate) first: bool,
}

/// Bits of a place that hold the column.
const COLUMN_BITS: u32 = 10;

impl Spot {
    /// Row and column in one number: columns from 1023 on are 1023.
    pub(crate) fn place(&self) -> u32 {
        self.row << COLUMN_BITS | self.column.min((1 << COLUMN_BITS) - 1)
    }
}

/// The row of a place.
pub(crate) fn row_of(place: u32) -> u32 {
    place >> COLUMN_BITS
}

/// The column of a place.
pub(crate) fn column_of(place: u32) -> u32 {
    place & ((1 << COLUMN_BITS) - 1)
}

/// What is wrong, and where.
pub(crate) type Wrong = (u32, u32, String);

const KEYWORDS: [&str; 35] = [
    "base",
    "break",
    "case",
    "catch",
    "class",
    "clone",
    "const",
    "constructor",
    "continue",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "extends",
    "false",
    "for",
    "foreach",
    "function",
    "if",
    "in",
    "instanceof",
    "local",
    "null",
    "resume",
    "return",
    "static",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "while",
    "yield",
];

/// Longest first.
const SIGNS: [&str; 47] = [
    "<=>", ">>>", "...", "</", "/>", "<-", "<=", ">=", "==", "!=", "&&", "||", "<<", ">>", "++", "--", "+=", "-=",
    "*=", "/=", "%=", "::", "+", "-", "*", "/", "%", "=", "<", ">", "!", "&", "|", "^", "~", "?", ":", ".", ",", ";",
    "(", ")", "[", "]", "{", "}", "@",
];

pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    row: u32,
    line_start: usize,
    /// What `#line` and `#require` said so far.
    pub(crate) lines: Lines,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Lexer { text, at: 0, row: 1, line_start: 0, lines: Lines::default() }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn wrong<T>(&self, text: impl Into<String>) -> Result<T, Wrong> {
        Err((self.row, (self.at - self.line_start + 1) as u32, text.into()))
    }

    fn newline(&mut self) {
        self.at += 1;
        self.row += 1;
        self.line_start = self.at;
    }

    /// Skips blanks and comments; whether a line ended.
    fn skip(&mut self) -> Result<bool, Wrong> {
        let mut first = self.at == 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'\n', _) => {
                    self.newline();
                    first = true;
                }
                (b' ' | b'\t' | b'\r', _) => self.at += 1,
                (b'#', _) | (b'/', b'/') => {
                    self.lines.read(&self.text[self.at..], self.row, self.at - self.line_start);
                    while self.at < self.text.len() && self.peek(0) != b'\n' {
                        self.at += 1;
                    }
                }
                (b'/', b'*') => {
                    self.at += 2;
                    while (self.peek(0), self.peek(1)) != (b'*', b'/') {
                        if self.at >= self.text.len() {
                            return self.wrong("missing \"*/\" in comment");
                        }
                        if self.peek(0) == b'\n' { self.newline() } else { self.at += 1 }
                    }
                    self.at += 2;
                }
                _ => return Ok(first),
            }
        }
    }

    pub(crate) fn next(&mut self) -> Result<Spot, Wrong> {
        let first = self.skip()?;
        let (row, column) = (self.row, (self.at - self.line_start + 1) as u32);
        let token = self.token()?;
        Ok(Spot { token, row, column, first })
    }

    fn token(&mut self) -> Result<Token, Wrong> {
        if self.at >= self.text.len() {
            return Ok(Token::End);
        }
        match self.peek(0) {
            b'"' => self.string(),
            b'@' if self.peek(1) == b'"' => self.verbatim(),
            b'\'' => self.character(),
            b'0'..=b'9' => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Ok(self.word()),
            _ => self.sign(),
        }
    }

    fn sign(&mut self) -> Result<Token, Wrong> {
        let rest = &self.text[self.at..];
        match SIGNS.iter().find(|s| rest.starts_with(s.as_bytes())) {
            Some(&sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => self.wrong(format!("unexpected character 0x{:02x}", self.peek(0))),
        }
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == b'_' {
            self.at += 1;
        }
        let word = &self.text[start..self.at];
        match KEYWORDS.iter().find(|k| k.as_bytes() == word) {
            Some(&key) => Token::Key(key),
            None => Token::Name(word.to_vec()),
        }
    }

    fn string(&mut self) -> Result<Token, Wrong> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek(0) {
                _ if self.at >= self.text.len() => return self.wrong("unfinished string"),
                b'"' => {
                    self.at += 1;
                    return Ok(Token::Str(out));
                }
                b'\n' => return self.wrong("newline in a constant"),
                b'\\' => out.push(self.escape()?),
                b => {
                    out.push(b);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<u8, Wrong> {
        self.at += 1;
        let b = self.peek(0);
        self.at += 1;
        Ok(match b {
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'n' => b'\n',
            b'r' => b'\r',
            b'v' => 11,
            b'f' => 12,
            b'0' => 0,
            b'\\' | b'"' | b'\'' => b,
            b'x' => {
                let start = self.at;
                let mut value = 0_u32;
                while self.at - start < 4
                    && let Some(digit) = char::from(self.peek(0)).to_digit(16)
                {
                    value = value << 4 | digit;
                    self.at += 1;
                }
                if self.at == start {
                    return self.wrong("hexadecimal number expected");
                }
                value as u8
            }
            _ => return self.wrong("unrecognised escaper char"),
        })
    }

    fn verbatim(&mut self) -> Result<Token, Wrong> {
        self.at += 2;
        let mut out = Vec::new();
        loop {
            match (self.peek(0), self.peek(1)) {
                _ if self.at >= self.text.len() => return self.wrong("unfinished string"),
                (b'"', b'"') => {
                    out.push(b'"');
                    self.at += 2;
                }
                (b'"', _) => {
                    self.at += 1;
                    return Ok(Token::Str(out));
                }
                (b, _) => {
                    out.push(b);
                    if b == b'\n' { self.newline() } else { self.at += 1 }
                }
            }
        }
    }

    fn character(&mut self) -> Result<Token, Wrong> {
        self.at += 1;
        let b = match self.peek(0) {
            b'\'' => return self.wrong("empty constant"),
            b'\\' => self.escape()?,
            b => {
                self.at += 1;
                b
            }
        };
        if self.peek(0) != b'\'' {
            return self.wrong("constant too long");
        }
        self.at += 1;
        Ok(Token::Int(i32::from(b as i8)))
    }

    fn number(&mut self) -> Result<Token, Wrong> {
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') {
            self.at += 2;
            return self.radix(16, 8);
        }
        if self.peek(0) == b'0' && matches!(self.peek(1), b'0'..=b'7') {
            return self.radix(8, usize::MAX);
        }
        let start = self.at;
        let mut float = false;
        loop {
            match self.peek(0) {
                b'0'..=b'9' => {}
                b'.' => float = true,
                b'e' | b'E' => {
                    float = true;
                    if matches!(self.peek(1), b'+' | b'-') {
                        self.at += 1;
                    }
                    if !self.peek(1).is_ascii_digit() {
                        return self.wrong("exponent expected");
                    }
                }
                _ => break,
            }
            self.at += 1;
        }
        let digits = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        if float {
            return match digits.parse::<f64>() {
                Ok(f) => Ok(Token::Float(f as f32)),
                Err(_) => self.wrong("malformed number"),
            };
        }
        let wrapped = digits.bytes().fold(0_i32, |n, d| n.wrapping_mul(10).wrapping_add(i32::from(d - b'0')));
        Ok(Token::Int(wrapped))
    }

    fn radix(&mut self, radix: u32, digits_max: usize) -> Result<Token, Wrong> {
        let start = self.at;
        let mut value = 0_u32;
        while let Some(digit) = char::from(self.peek(0)).to_digit(radix) {
            value = value.wrapping_mul(radix).wrapping_add(digit);
            self.at += 1;
        }
        if self.at - start > digits_max {
            return self.wrong("too many digits for an Hex number");
        }
        if self.peek(0).is_ascii_alphanumeric() {
            return self.wrong(if radix == 8 { "invalid octal number" } else { "malformed number" });
        }
        Ok(Token::Int(value as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut out = Vec::new();
        loop {
            match lexer.next().unwrap().token {
                Token::End => return out,
                t => out.push(t),
            }
        }
    }

    #[test]
    fn numbers_wrap_and_take_their_radix_from_their_head() {
        let text = "0x1F 017 08 2147483648 1. 1.5E-2 'a' '\\n' '\\xff'";
        let want = [
            Token::Int(31),
            Token::Int(15),
            Token::Int(8),
            Token::Int(i32::MIN),
            Token::Float(1.0),
            Token::Float(0.015),
            Token::Int(97),
            Token::Int(10),
            Token::Int(-1),
        ];
        assert_eq!(tokens(text), want);
        for bad in ["0x123456789", "1e", "''", "'ab'", "\"a\nb\"", "\"\\q\"", "/* ", "\"abc", "5.tostring"] {
            let mut lexer = Lexer::new(bad.as_bytes());
            let failed = (0..3).any(|_| lexer.next().is_err());
            assert_eq!(failed, bad != "5.tostring", "{bad}");
        }
    }

    #[test]
    fn comments_of_all_three_kinds_are_skipped() {
        assert_eq!(tokens("a // b\n# c\n/* d\n */ e"), [Token::Name(b"a".into()), Token::Name(b"e".into())]);
    }

    #[test]
    fn strings_hold_bytes() {
        let want = [Token::Str(vec![0x41, 0, 0x34]), Token::Str(b"a\"\n\\n".to_vec())];
        assert_eq!(tokens("\"\\x41\\0\\x1234\" @\"a\"\"\n\\n\""), want);
    }
}
