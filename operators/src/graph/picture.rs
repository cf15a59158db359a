//! The plan as others are to see it: its edges, and a picture of them.
//!
//! The picture is text in the language of Mermaid, which renders in documentation and in browsers. Invariant: what a
//! user wrote stands in it as text and never as markup. It does not know what runs.

use super::{Graph, Port};

/// A way that records take from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Where they come from.
    pub from: Port,
    /// The number of the node that takes them.
    pub to: usize,
    /// How they get there.
    pub moves: Moves,
}

/// How records get from one node to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// They stay on their worker.
    Here,
    /// Each goes to the worker of its key.
    ByKey,
    /// Each goes to every worker.
    ToAll,
}

impl Moves {
    /// In words: `here`, `by key`, `to all`.
    pub fn name(self) -> &'static str {
        match self {
            Moves::Here => "here",
            Moves::ByKey => "by key",
            Moves::ToAll => "to all",
        }
    }
}

impl Graph {
    /// Every edge, in the order of the nodes that take from it.
    pub fn edges(&self) -> impl Iterator<Item = Edge> {
        let nodes = self.nodes.iter().enumerate();
        nodes.flat_map(|(to, node)| node.inputs.iter().map(move |&from| (from, to))).map(move |(from, to)| {
            let moves = match self.ports.get(&from) {
                Some(plan) if plan.to_all => Moves::ToAll,
                Some(plan) if plan.exchange.is_some() => Moves::ByKey,
                _ => Moves::Here,
            };
            Edge { from, to, moves }
        })
    }

    /// A picture of the topology in the language of Mermaid: sources and sinks are rounded, what keeps state is a
    /// cylinder, and edges say where records move.
    pub fn to_mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (number, node) in self.nodes.iter().enumerate() {
            let name = node.place.name.as_deref().map(|name| format!("<br/>{}", escaped(name)));
            let (open, close) = match (&node.source, &node.sink, &name) {
                (Some(_), ..) | (_, Some(_), _) => ("([", "])"),
                (.., Some(_)) => ("[(", ")]"),
                _ => ("[", "]"),
            };
            let name = name.unwrap_or_default();
            text.push_str(&format!("    n{number}{open}\"{}{name}\"{close}\n", escaped(node.place.verb)));
        }
        for Edge { from, to, moves } in self.edges() {
            let output = (from.output > 0).then(|| format!("output {}", from.output));
            let moves = (moves != Moves::Here).then(|| moves.name().to_owned());
            let label: Vec<String> = output.into_iter().chain(moves).collect();
            let arrow =
                if label.is_empty() { "-->".to_owned() } else { format!("-->|{}|", label.join(", ")) };
            text.push_str(&format!("    n{} {arrow} n{to}\n", from.node));
        }
        text
    }
}

/// What Mermaid would take for markup, by its number.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '#' | '&' | '<' | '>' | ';' => format!("#{};", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use crate::memory::Memory;
    use crate::topology::Topology;

    #[test]
    fn a_picture_says_what_keeps_state_and_where_records_move() {
        let topology = Topology::new("words");
        let words = topology.source("words", Memory::source(["a"]));
        words.key_by(|word| word.to_string()).count("counts").to_stream().sink("out", Memory::sink());
        let graph = topology.finish().expect("is a topology");
        let picture = graph.to_mermaid();
        assert!(picture.starts_with("flowchart LR\n"), "{picture}");
        assert!(picture.contains("([\"source<br/>words\"])"), "{picture}");
        assert!(picture.contains("[(\"count<br/>counts\")]"), "{picture}");
        assert!(picture.contains("-->|by key|"), "{picture}");
        assert_eq!(picture.matches("-->").count(), graph.edges().count());
    }

    #[test]
    fn what_could_be_markup_is_text() {
        assert_eq!(super::escaped("a\"<b>"), "a#34;#60;b#62;");
    }
}
