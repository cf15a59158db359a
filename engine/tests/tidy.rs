//! The style and the structure of the workspace, as tests.
//!
//! Each check is a function from a [`Tree`] to its offences, one line each: `path:line: what is wrong; what to
//! do`. Two tests hold each check: one runs it on the workspace, one on a tree made up to break the rule, so
//! that a check that matches nothing does not pass for a clean workspace.

#[path = "tidy/checks.rs"]
mod checks;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/refusals.rs"]
mod refusals;
#[path = "tidy/tree.rs"]
mod tree;

use tree::Tree;

/// Runs a check on the workspace and lists every offence.
fn hold(check: fn(&Tree) -> Vec<String>) {
    let offences = check(&Tree::read());
    assert!(offences.is_empty(), "{} to put right:\n  {}\n", offences.len(), offences.join("\n  "));
}

#[test]
fn a_crate_uses_only_crates_to_its_left() {
    hold(checks::crate_order);
}

#[test]
fn files_have_at_most_600_lines() {
    hold(checks::file_length);
}

#[test]
fn functions_have_at_most_70_lines() {
    hold(checks::function_length);
}

#[test]
fn lines_have_at_most_120_characters() {
    hold(checks::line_length);
}

#[test]
fn an_ignored_test_says_why() {
    hold(checks::ignored_tests);
}

#[test]
fn no_test_is_commented_out() {
    hold(checks::commented_out_tests);
}

#[test]
fn every_module_opens_with_prose() {
    hold(checks::module_prose);
}

#[test]
fn every_member_takes_the_lints_of_the_workspace() {
    hold(checks::lints);
}

#[test]
fn nothing_is_left_to_do_in_code() {
    hold(checks::left_to_do);
}

#[test]
fn library_code_does_not_unwrap() {
    hold(checks::unwraps);
}

#[test]
fn no_clock_and_no_thread_below_the_engine() {
    hold(checks::clocks_and_threads);
}

#[test]
fn no_module_is_a_drawer() {
    hold(checks::drawers);
}

#[test]
fn decision_records_have_their_three_parts() {
    hold(checks::decision_records);
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    hold(checks::machine_paths);
}
