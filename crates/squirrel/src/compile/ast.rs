//! The tree between parser and code generator; names of variables are resolved in it already.

/// A string of the program.
pub(crate) type Name = u32;

/// An expression with its line and the depth of the tree below it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) depth: u16,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    BitAnd,
    BitOr,
    BitXor,
    Shl,
    Shr,
    UShr,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Compare,
    In,
    InstanceOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Neg,
    Not,
    BitNot,
    Typeof,
    Resume,
    Clone,
    Delete,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i32),
    Float(f32),
    Str(Name),
    This,
    Base,
    Root,
    /// A variable of this function.
    Local(usize),
    /// A free variable.
    Outer(u8),
    /// A name that is looked up in `this` and the root table.
    Free(Name),
    Member(Box<Node>, Name),
    Index(Box<Node>, Box<Node>),
    Call(Box<Node>, Vec<Node>),
    Unary(Unary, Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Ternary(Box<Node>, Box<Node>, Box<Node>),
    Comma(Box<Node>, Box<Node>),
    Assign(Box<Node>, Box<Node>),
    NewSlot(Box<Node>, Box<Node>),
    /// `target op= value`
    Compound(Binary, Box<Node>, Box<Node>),
    /// `++` and `--`: the change, and whether the old value is the result.
    Step(i32, bool, Box<Node>),
    Array(Vec<Node>),
    Table(Vec<(Node, Node)>),
    Function(Box<Lambda>),
    Class(Box<ClassBody>),
}

/// A function's tree.
#[derive(Debug)]
pub(crate) struct Lambda {
    pub(crate) name: Option<Name>,
    /// Variables of the function, parameters first; true when an inner function captures it.
    pub(crate) captured: Vec<bool>,
    pub(crate) parameters: Vec<Name>,
    pub(crate) defaults: Vec<Node>,
    pub(crate) varargs: bool,
    pub(crate) generator: bool,
    pub(crate) captures: Vec<Source>,
    pub(crate) body: Vec<Stmt>,
    pub(crate) last_line: u32,
}

/// Where a free variable comes from in the function around.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    Local(usize),
    Outer(u8),
}

#[derive(Debug)]
pub(crate) struct ClassBody {
    pub(crate) base: Option<Node>,
    pub(crate) attributes: Option<Node>,
    pub(crate) members: Vec<ClassMember>,
}

#[derive(Debug)]
pub(crate) struct ClassMember {
    pub(crate) key: Node,
    pub(crate) value: Node,
    pub(crate) attributes: Option<Node>,
    pub(crate) is_static: bool,
}

/// A statement with its line.
#[derive(Debug)]
pub(crate) struct Stmt {
    pub(crate) line: u32,
    pub(crate) kind: StmtKind,
}

#[derive(Debug)]
pub(crate) enum StmtKind {
    Empty,
    Expr(Node),
    Local(usize, Option<Node>),
    Block(Vec<Stmt>),
    If(Vec<(Node, Stmt)>, Option<Box<Stmt>>),
    While(Node, Box<Stmt>),
    DoWhile(Box<Stmt>, Node),
    /// The first part's statements, condition, step, body.
    For(Vec<Stmt>, Option<Node>, Option<Node>, Box<Stmt>),
    /// Key variable, value variable, container, body.
    Foreach(Option<usize>, usize, Node, Box<Stmt>),
    Switch(Node, Vec<(Node, Vec<Stmt>)>, Option<Vec<Stmt>>),
    Break,
    Continue,
    Return(Option<Node>),
    Yield(Option<Node>),
    Throw(Node),
    Try(Box<Stmt>, usize, Box<Stmt>),
}
