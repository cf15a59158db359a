//! The text of a shape, read back: so that bytes can be read by it where the type is not at hand.
//!
//! Invariant: a text that [`shape_of`](super::shape_of) made is read as what the encoding is of, or not at all.
//! It does not know values. Names with one of the characters `{}()[]<>,|:;^` in them, which `serde(rename)` can
//! make, are not told from the text around them; such a text is refused here, or the bytes do not fit it.

use std::ops::Range;

/// How deep a text may be nested; [`shape_of`](super::shape_of) makes none that is deeper.
const DEPTH_MAX: usize = 256;

/// The number of a type in a [`RowShape`].
pub(crate) type Id = usize;

/// What a type is encoded as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Unit,
    Bool,
    U8,
    I8,
    /// A number of this many bits whose encoding is as long as it needs.
    Unsigned(u32),
    Signed(u32),
    F32,
    F64,
    Char,
    Str,
    Bytes,
    Option(Id),
    List(Id),
    Map(Id, Id),
    Tuple(Vec<Id>),
    Newtype(Id),
    Struct(Vec<(String, Id)>),
    Enum(Vec<(String, Option<Id>)>),
    /// Nothing is known of it.
    Opaque,
}

#[derive(Clone, Debug)]
struct Node {
    of: Type,
    /// Where in the text it stands.
    text: Range<usize>,
}

/// The shape of the rows of one state: of its keys and of its values.
#[derive(Clone, Debug)]
pub struct RowShape {
    text: String,
    nodes: Vec<Node>,
    pub(super) key: Id,
    pub(super) value: Id,
}

impl RowShape {
    /// Reads a text as the [`catalog`](crate::catalog) keeps it: the shape of the keys, ` -> `, the shape of the
    /// values, and perhaps how they are filed. `None` if it is not understood.
    pub fn parse(text: &str) -> Option<RowShape> {
        let mut parser = Parser { text, at: 0, nodes: Vec::new(), around: Vec::new(), depth: 0 };
        let key = parser.whole()?;
        parser.eat(ARROW)?;
        let value = parser.whole()?;
        Some(RowShape { text: text.to_owned(), nodes: parser.nodes, key, value })
    }

    /// Whether nothing is known of the key or of the value, so that they can only be shown as bytes.
    pub fn is_opaque(&self) -> bool {
        [self.key, self.value].iter().any(|&id| *self.of(id) == Type::Opaque)
    }

    pub(super) fn of(&self, id: Id) -> &Type {
        &self.nodes[id].of
    }

    /// The text of one type.
    pub(super) fn text(&self, id: Id) -> &str {
        &self.text[self.nodes[id].text.clone()]
    }

    /// Where in the whole text the types stand whose text is `text`, each with its number, in the order of the text;
    /// those of the key are no part of it.
    pub(crate) fn places(&self, text: &str) -> Vec<(Range<usize>, Id)> {
        let behind_key = self.nodes[self.key].text.end;
        let found = self.nodes.iter().enumerate();
        let found = found.filter(|(id, node)| node.text.start > behind_key && self.text(*id) == text);
        let mut found: Vec<_> = found.map(|(id, node)| (node.text.clone(), id)).collect();
        found.sort_by_key(|(place, _)| place.start);
        found.dedup_by_key(|(place, _)| place.start);
        found
    }

    /// Whether the one place is the value as a whole.
    pub(crate) fn is_value(&self, places: &[(Range<usize>, Id)]) -> bool {
        matches!(places, [(place, _)] if *place == self.nodes[self.value].text)
    }

    /// Whether a type has a name of its own, by which it is told from others of the same form.
    pub(crate) fn is_named(&self, id: Id) -> bool {
        match self.of(id) {
            Type::Struct(_) | Type::Newtype(_) | Type::Enum(_) => true,
            Type::Tuple(_) => !self.text(id).starts_with('('),
            _ => false,
        }
    }
}

const ARROW: &str = " -> ";

struct Parser<'t> {
    text: &'t str,
    at: usize,
    nodes: Vec<Node>,
    /// The options, lists, maps and enums around what is being read.
    around: Vec<Id>,
    depth: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn eat(&mut self, text: &str) -> Option<()> {
        self.rest().starts_with(text).then(|| self.at += text.len())
    }

    /// The end of the text, or of the keys' part of it, is the end of an opaque type.
    fn whole(&mut self) -> Option<Id> {
        let start = self.at;
        if self.rest().starts_with("opaque ") {
            self.at += self.rest().find(ARROW).unwrap_or(self.rest().len());
            let id = self.open(start);
            return Some(self.close(id, Type::Opaque));
        }
        self.around.clear();
        self.one()
    }

    fn open(&mut self, start: usize) -> Id {
        self.nodes.push(Node { of: Type::Opaque, text: start..start });
        self.nodes.len() - 1
    }

    fn close(&mut self, id: Id, of: Type) -> Id {
        self.nodes[id].of = of;
        self.nodes[id].text.end = self.at;
        id
    }

    fn name(&mut self) -> String {
        let end = self.rest().find(|c| "{}()[]<>,|:;^".contains(c)).unwrap_or(self.rest().len());
        let end = self.rest().find(ARROW).map_or(end, |arrow| end.min(arrow));
        let name = self.rest()[..end].to_owned();
        self.at += end;
        name
    }

    fn one(&mut self) -> Option<Id> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let one = self.inside();
        self.depth -= 1;
        one
    }

    fn inside(&mut self) -> Option<Id> {
        if self.eat("^").is_some() {
            let digits =
                self.rest().len() - self.rest().trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let levels: usize = self.rest()[..digits].parse().ok()?;
            self.at += digits;
            return self.around.len().checked_sub(levels).and_then(|at| self.around.get(at).copied());
        }
        let id = self.open(self.at);
        let name = self.name();
        let of = match self.rest().chars().next() {
            Some('<') => self.container(id, &name)?,
            Some('[') => self.variants(id)?,
            Some('{') => self.fields()?,
            Some('(') => self.parts(!name.is_empty())?,
            _ => leaf(&name),
        };
        Some(self.close(id, of))
    }

    fn container(&mut self, id: Id, name: &str) -> Option<Type> {
        self.eat("<")?;
        self.around.push(id);
        let first = self.one()?;
        let of = match name {
            "option" => Type::Option(first),
            "list" => Type::List(first),
            "map" => {
                self.eat(",")?;
                Type::Map(first, self.one()?)
            }
            _ => return None,
        };
        self.around.pop();
        self.eat(">")?;
        Some(of)
    }

    fn variants(&mut self, id: Id) -> Option<Type> {
        self.eat("[")?;
        self.around.push(id);
        let mut variants = Vec::new();
        while self.eat("]").is_none() {
            if !variants.is_empty() {
                self.eat("|")?;
            }
            let name = self.name();
            let start = self.at;
            let payload = match self.rest().chars().next() {
                Some('{') => Some(self.fields()?),
                Some('(') => Some(self.parts(true)?),
                _ => None,
            };
            let payload = payload.map(|of| {
                let id = self.open(start);
                self.close(id, of)
            });
            variants.push((name, payload));
        }
        self.around.pop();
        Some(Type::Enum(variants))
    }

    fn fields(&mut self) -> Option<Type> {
        self.eat("{")?;
        let mut fields = Vec::new();
        while self.eat("}").is_none() {
            if !fields.is_empty() {
                self.eat(",")?;
            }
            let name = self.name();
            self.eat(":")?;
            fields.push((name, self.one()?));
        }
        Some(Type::Struct(fields))
    }

    /// `(A,B)`, or `(A;4)` for four of one type. One alone is a tuple of one, unless it is the inside of
    /// something named.
    fn parts(&mut self, named: bool) -> Option<Type> {
        self.eat("(")?;
        let mut parts = Vec::new();
        while self.eat(")").is_none() {
            if !parts.is_empty() && self.eat(";").is_some() {
                let digits = self.rest().find(')')?;
                let count: usize = self.rest()[..digits].parse().ok().filter(|&count| count <= PARTS_MAX)?;
                self.at += digits;
                parts.resize(count, parts[0]);
                continue;
            }
            if !parts.is_empty() {
                self.eat(",")?;
            }
            parts.push(self.one()?);
        }
        Some(match parts.as_slice() {
            [] => Type::Unit,
            [only] if named => Type::Newtype(*only),
            _ => Type::Tuple(parts),
        })
    }
}

/// How many parts a tuple or an array may have; the text of a longer one is not a type's that was kept.
const PARTS_MAX: usize = 1 << 20;

fn leaf(name: &str) -> Type {
    match name {
        "bool" => Type::Bool,
        "u8" => Type::U8,
        "i8" => Type::I8,
        "u16" => Type::Unsigned(16),
        "u32" => Type::Unsigned(32),
        "u64" => Type::Unsigned(64),
        "u128" => Type::Unsigned(128),
        "i16" => Type::Signed(16),
        "i32" => Type::Signed(32),
        "i64" => Type::Signed(64),
        "i128" => Type::Signed(128),
        "f32" => Type::F32,
        "f64" => Type::F64,
        "char" => Type::Char,
        "str" => Type::Str,
        "bytes" => Type::Bytes,
        // A struct without fields is its name alone.
        _ => Type::Unit,
    }
}
