//! The shape of a type as text, to refuse state that cannot be read as it (HW-9).
//!
//! Values are encoded without names and types, so bytes of one type can often be decoded as another. What
//! stands between is the text made here: it is kept beside the state and compared at the next start. It holds
//! what the encoding depends on, and the names of structs, fields and variants, because two fields of one width
//! that changed places would be misread without any error.
//!
//! The shape is found by deserialising the type from nothing: a deserialiser hands out made-up values and notes
//! what it is asked for. One run takes one path through the type, so it is run until every variant of every
//! enum and the inside of every option, list and map was seen. Invariant: the same type gives the same text, in
//! every process and whatever was asked before. It does not know module paths.
//!
//! What a type's own code does with a value is not seen. A type whose `Deserialize` refuses every made-up value
//! is `opaque` as a whole, and a change inside it goes unnoticed.

use std::any::type_name;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use self::probe::{At, Refused};

mod entered;
mod parse;
mod probe;
mod values;
mod variants;

pub(crate) use self::entered::unhex;
pub use self::parse::RowShape;
pub use self::values::hex;
pub use self::variants::{Variant, Variants, payload_shape};

/// How deep a type may be nested; deeper ones are opaque.
const DEPTH_MAX: usize = 96;
/// How many values all runs over one type may ask for.
const STEPS_MAX: usize = 1_000_000;
/// How long a shape may be, in bytes.
const TEXT_MAX: usize = 256 * 1024;

/// The shape of `T`, as it is encoded: `Click{url:str,at:i64,kind:Kind[View|Buy(u32)]}`.
///
/// | type | text |
/// | --- | --- |
/// | `u64`, `bool`, `String`, `()` | `u64`, `bool`, `str`, `()` |
/// | `Option<T>`, `Vec<T>` and sets, maps | `option<T>`, `list<T>`, `map<K,V>` |
/// | `(A, B)`, `[u8; 16]` | `(A,B)`, `(u8;16)` |
/// | structs | `Name{field:T}`, `Name(T)`, `Name` |
/// | enums, variants in order | `Name[First\|Second(T)\|Third{field:T}]` |
/// | inside itself | `^1`: the nearest option, list, map or enum around it, `^2` the one around that |
///
/// Types that check what they read are tried with a few texts and numbers (times, dates, addresses). If none
/// will do, or the type needs a format that describes itself, the text is `opaque` and Rust's name of the type.
///
/// Costs microseconds to milliseconds: for the start of a job. Never panics; a panic inside a `Deserialize`
/// written by hand makes the type opaque.
///
/// ```
/// use highwater_state::shape::shape_of;
/// assert_eq!(shape_of::<(String, Option<u64>)>(), "(str,option<u64>)");
/// ```
pub fn shape_of<T: DeserializeOwned + 'static>() -> String {
    let traced = catch_unwind(AssertUnwindSafe(trace::<T>));
    traced.ok().flatten().unwrap_or_else(|| format!("opaque {}", type_name::<T>()))
}

fn trace<T: DeserializeOwned>() -> Option<String> {
    let mut tracer = Tracer::default();
    loop {
        let explored = tracer.explored();
        tracer.begin();
        let mut shape = Shape::Unknown;
        match T::deserialize(At { tracer: &mut tracer, shape: &mut shape, depth: 0 }) {
            Ok(_) if tracer.hopeless => return None,
            Ok(_) if tracer.is_complete() => return tracer.text(&shape),
            Ok(_) if tracer.explored() > explored => {}
            Ok(_) => return None,
            Err(_) => tracer.try_another_value()?,
        }
    }
}

/// What is known of a type.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Unknown,
    Leaf(&'static str),
    Tuple(Vec<Shape>),
    Struct(&'static str, Vec<(&'static str, Shape)>),
    TupleStruct(&'static str, Vec<Shape>),
    /// A number in [`Tracer::nodes`].
    Choice(usize),
}

impl Shape {
    fn parts(&self) -> Box<dyn Iterator<Item = &Shape> + '_> {
        match self {
            Shape::Unknown | Shape::Leaf(_) | Shape::Choice(_) => Box::new(std::iter::empty()),
            Shape::Tuple(parts) | Shape::TupleStruct(_, parts) => Box::new(parts.iter()),
            Shape::Struct(_, fields) => Box::new(fields.iter().map(|(_, shape)| shape)),
        }
    }

    /// The largest of `of(node)` over all choices inside, 0 without one; `None` if it is `None` for one.
    fn largest(&self, of: &dyn Fn(usize) -> Option<usize>) -> Option<usize> {
        match self {
            Shape::Choice(node) => of(*node),
            other => other.parts().try_fold(0, |most, part| Some(most.max(part.largest(of)?))),
        }
    }

    /// The smallest of `of(node)` over all choices inside.
    fn smallest(&self, of: &dyn Fn(usize) -> Option<usize>) -> Option<usize> {
        match self {
            Shape::Choice(node) => of(*node),
            other => other.parts().filter_map(|part| part.smallest(of)).min(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Option,
    List,
    Map,
    Enum,
}

/// A place where a run takes one of several ways. Options, lists and maps have one variant, what they hold, and
/// can do without it.
#[derive(Debug)]
struct Node {
    kind: Kind,
    name: &'static str,
    variants: Vec<Way>,
    /// How often the run is inside of it now.
    open: usize,
}

#[derive(Debug)]
struct Way {
    name: &'static str,
    shape: Option<Shape>,
    /// How often the run is inside of it now.
    open: usize,
}

#[derive(Debug, Default)]
struct Tracer {
    nodes: Vec<Node>,
    /// By the name of the visitor, which is different for every type and every way of reading it.
    index: BTreeMap<(Kind, &'static str), usize>,
    /// Steps from each node to a variant that was not seen when the run began.
    distances: Vec<Option<usize>>,
    /// Which of the made-up values is handed to a visitor.
    candidates: BTreeMap<&'static str, usize>,
    /// The visitor that got the last value, and how many there are for it.
    last: Option<(&'static str, usize)>,
    steps: usize,
    hopeless: bool,
}

impl Tracer {
    fn begin(&mut self) {
        self.last = None;
        for node in &mut self.nodes {
            node.open = 0;
            node.variants.iter_mut().for_each(|variant| variant.open = 0);
        }
        self.distances = self.fixpoint(|node, of| {
            if node.variants.iter().any(|variant| variant.shape.is_none()) {
                return Some(0);
            }
            let nearest =
                node.variants.iter().filter_map(|variant| variant.shape.as_ref()?.smallest(of)).min();
            nearest.map(|nearest| nearest + 1)
        });
    }

    /// Applies `rule` to all nodes until no number changes.
    fn fixpoint(
        &self,
        rule: impl Fn(&Node, &dyn Fn(usize) -> Option<usize>) -> Option<usize>,
    ) -> Vec<Option<usize>> {
        let mut numbers = vec![None; self.nodes.len()];
        for _ in 0..=self.nodes.len() {
            let next: Vec<_> = self.nodes.iter().map(|node| rule(node, &|other| numbers[other])).collect();
            if next == numbers {
                break;
            }
            numbers = next;
        }
        numbers
    }

    fn explored(&self) -> usize {
        self.nodes.iter().flat_map(|node| &node.variants).filter(|variant| variant.shape.is_some()).count()
    }

    fn is_complete(&self) -> bool {
        self.nodes.iter().flat_map(|node| &node.variants).all(|variant| variant.shape.is_some())
    }

    /// After a refusal: the last value handed out is the one to change, as it was refused or led to it.
    fn try_another_value(&mut self) -> Option<()> {
        let (visitor, of) = self.last.filter(|_| !self.hopeless)?;
        let candidate = self.candidates.entry(visitor).or_default();
        *candidate += 1;
        (*candidate < of).then_some(())
    }

    fn give_up<T>(&mut self) -> Result<T, Refused> {
        self.hopeless = true;
        Err(Refused)
    }

    fn step(&mut self, depth: usize) -> Result<(), Refused> {
        self.steps += 1;
        if depth > DEPTH_MAX || self.steps > STEPS_MAX { self.give_up() } else { Ok(()) }
    }

    /// Which of `of` values the visitor gets.
    fn candidate(&mut self, visitor: &'static str, of: usize) -> usize {
        self.last = Some((visitor, of));
        self.candidates.get(visitor).copied().unwrap_or(0).min(of - 1)
    }

    /// The node behind a visitor. Two types behind one visitor would get each other's text.
    fn node(
        &mut self,
        key: (Kind, &'static str),
        name: &'static str,
        variants: &[&'static str],
    ) -> Result<usize, Refused> {
        if let Some(&number) = self.index.get(&key) {
            let node = &self.nodes[number];
            let is_same = node.name == name
                && node.variants.iter().map(|variant| variant.name).eq(variants.iter().copied());
            return if is_same { Ok(number) } else { self.give_up() };
        }
        let variants = variants.iter().map(|&name| Way { name, shape: None, open: 0 }).collect();
        self.nodes.push(Node { kind: key.0, name, variants, open: 0 });
        let number = self.nodes.len() - 1;
        self.index.insert(key, number);
        Ok(number)
    }

    /// The variant to take: one not seen yet, else one that leads to such, else the way that ends soonest.
    fn choose(&mut self, number: usize) -> Result<Option<usize>, Refused> {
        let node = &self.nodes[number];
        let unseen = |variant: &Way| variant.shape.is_none() && variant.open == 0;
        if let Some(variant) = node.variants.iter().position(unseen) {
            return Ok(Some(variant));
        }
        if node.open == 0
            && let Some(variant) = self.towards_unseen(number)
        {
            return Ok(Some(variant));
        }
        if node.kind != Kind::Enum {
            return Ok(None);
        }
        let heights = self.fixpoint(|node, of| {
            let height = |variant: &Way| Some(1 + variant.shape.as_ref()?.largest(of)?);
            if node.kind == Kind::Enum { node.variants.iter().filter_map(height).min() } else { Some(0) }
        });
        let height = |variant: &Way| variant.shape.as_ref()?.largest(&|other| heights[other]);
        let ends =
            node.variants.iter().enumerate().filter_map(|(at, variant)| Some((height(variant)?, at))).min();
        match ends {
            Some((_, variant)) => Ok(Some(variant)),
            None => self.give_up(),
        }
    }

    fn towards_unseen(&self, number: usize) -> Option<usize> {
        let known = |node: usize| self.distances.get(node).copied().flatten();
        let here = known(number)?;
        let distance = |variant: &Way| variant.shape.as_ref()?.smallest(&known);
        let variants = self.nodes[number].variants.iter().enumerate();
        let nearest = variants.filter_map(|(at, variant)| Some((distance(variant)?, at))).min()?;
        (nearest.0 < here).then_some(nearest.1)
    }

    fn enter(&mut self, node: usize, variant: usize) {
        self.nodes[node].open += 1;
        self.nodes[node].variants[variant].open += 1;
    }

    /// Notes what a variant was found to hold. Found different from before, there are two types behind one
    /// visitor, and no text would be right.
    fn leave(&mut self, node: usize, variant: usize, found: Shape) -> Result<(), Refused> {
        self.nodes[node].open -= 1;
        let variant = &mut self.nodes[node].variants[variant];
        variant.open -= 1;
        match &variant.shape {
            Some(kept) if *kept != found => self.give_up(),
            _ => {
                variant.shape = Some(found);
                Ok(())
            }
        }
    }

    fn text(&self, shape: &Shape) -> Option<String> {
        let mut text = String::new();
        self.write(shape, &mut Vec::new(), &mut text)?;
        Some(text)
    }

    fn write(&self, shape: &Shape, around: &mut Vec<usize>, text: &mut String) -> Option<()> {
        match shape {
            Shape::Unknown => return None,
            Shape::Leaf(name) => text.push_str(name),
            Shape::Tuple(parts) => self.write_parts(parts, around, text)?,
            Shape::TupleStruct(name, parts) => {
                text.push_str(name);
                if !parts.is_empty() {
                    self.write_parts(parts, around, text)?;
                }
            }
            Shape::Struct(name, fields) => {
                text.push_str(name);
                text.push('{');
                for (at, (field, shape)) in fields.iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { "," });
                    text.push_str(field);
                    text.push(':');
                    self.write(shape, around, text)?;
                }
                text.push('}');
            }
            Shape::Choice(node) => match around.iter().rev().position(|other| other == node) {
                Some(levels) => text.push_str(&format!("^{}", levels + 1)),
                None => {
                    around.push(*node);
                    self.write_node(&self.nodes[*node], around, text)?;
                    around.pop();
                }
            },
        }
        (text.len() <= TEXT_MAX).then_some(())
    }

    fn write_parts(&self, parts: &[Shape], around: &mut Vec<usize>, text: &mut String) -> Option<()> {
        text.push('(');
        if let [first, .., _] = parts
            && parts.len() > 3
            && parts.iter().all(|part| part == first)
        {
            self.write(first, around, text)?;
            text.push_str(&format!(";{}", parts.len()));
        } else {
            for (at, part) in parts.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                self.write(part, around, text)?;
            }
        }
        text.push(')');
        Some(())
    }

    fn write_node(&self, node: &Node, around: &mut Vec<usize>, text: &mut String) -> Option<()> {
        text.push_str(node.name);
        let (open, close, between) = if node.kind == Kind::Enum { ('[', ']', "|") } else { ('<', '>', ",") };
        text.push(open);
        for (at, variant) in node.variants.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { between });
            text.push_str(variant.name);
            match variant.shape.as_ref()? {
                // A variant without a payload; and the two parts of a map, which need no brackets.
                Shape::Tuple(parts) if parts.is_empty() => {}
                Shape::Tuple(parts) if node.kind == Kind::Map => {
                    for (at, part) in parts.iter().enumerate() {
                        text.push_str(if at == 0 { "" } else { "," });
                        self.write(part, around, text)?;
                    }
                }
                shape => self.write(shape, around, text)?,
            }
        }
        text.push(close);
        Some(())
    }
}
