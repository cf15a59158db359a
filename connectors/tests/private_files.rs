//! What a file sink stages is for its owner, also where the output lies among the files of others.

#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use highwater_connectors::file::File;
use highwater_operators::batch::Batch;
use highwater_operators::codec::Text;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink};
use highwater_state::Epoch;

fn mode(path: &Path) -> Result<u32, Cause> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn staged_records_are_the_owners_only() -> Result<(), Cause> {
    let root = tempfile::tempdir()?;
    let (output, staged) = (root.path().join("out"), root.path().join(".out.staged"));
    let sink = File::at(&output).sink(Text);
    sink.recover(Epoch(0), &[])?;
    assert_eq!(mode(&staged)?, 0o700);
    let mut writer = sink.open(0)?;
    writer.write(&mut Batch::untimed(vec!["a".to_owned()]))?;
    let receipt = writer.stage(Epoch(1))?;
    sink.publish(Epoch(1), &[receipt])?;
    assert_eq!(fs::read_to_string(&output)?, "a\n");
    assert_eq!(mode(&staged)?, 0o700);
    Ok(())
}

#[test]
fn a_staging_directory_that_others_could_read_is_theirs_no_longer() -> Result<(), Cause> {
    let root = tempfile::tempdir()?;
    let staged = root.path().join(".out.staged");
    fs::create_dir(&staged)?;
    fs::set_permissions(&staged, Permissions::from_mode(0o777))?;
    File::at(root.path().join("out")).sink(Text).recover(Epoch(0), &[])?;
    assert_eq!(mode(&staged)?, 0o700);
    Ok(())
}

/// Somebody who may make files beside the output cannot lead its records elsewhere.
#[test]
fn a_link_in_the_place_of_the_staging_directory_is_refused() -> Result<(), Cause> {
    let root = tempfile::tempdir()?;
    let elsewhere = root.path().join("elsewhere");
    fs::create_dir(&elsewhere)?;
    symlink(&elsewhere, root.path().join(".out.staged"))?;
    let refused = File::at(root.path().join("out")).sink(Text).recover(Epoch(0), &[]);
    let refused = refused.expect_err("it is a link").to_string();
    assert!(refused.contains(".out.staged") && refused.contains("no directory"), "{refused}");
    assert_eq!(fs::read_dir(&elsewhere)?.count(), 0);
    Ok(())
}
