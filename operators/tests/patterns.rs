//! What a pattern finds, compared with a model that knows the rules and not the automaton, and by examples. If a test
//! fails here, a match is missing, invented, or given with other records than its stages took.

#[path = "patterns/against_the_model.rs"]
mod against_the_model;
#[path = "patterns/captures.rs"]
mod captures;
#[path = "patterns/conditions.rs"]
mod conditions;
#[path = "patterns/described.rs"]
mod described;
#[path = "patterns/kept.rs"]
mod kept;
#[path = "patterns/letters.rs"]
mod letters;
#[path = "patterns/model.rs"]
mod model;
#[path = "patterns/outcomes.rs"]
mod outcomes;
#[path = "patterns/places.rs"]
mod places;
#[path = "patterns/refused.rs"]
mod refused;
