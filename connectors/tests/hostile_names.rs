//! Names from outside never become paths: what is on disk, in a receipt or behind a split cannot lead the file
//! connectors to any file but their own.

use std::fs;
use std::path::Path;

use highwater_connectors::file::File;
use highwater_operators::codec::Text;
use highwater_operators::error::Cause;
use highwater_operators::sink::Publish;
use highwater_operators::source::Source;
use highwater_state::Epoch;

const SECRET: &str = "of somebody else";

/// Names that lead elsewhere, or that are none.
fn hostile(secret: &Path) -> Vec<String> {
    let absolute = secret.display().to_string();
    let mut names =
        ["", ".", "..", "../secret", "./../secret", "part-1-0/../../secret", "part-1-0\0", "marker"]
            .map(str::to_owned)
            .to_vec();
    names.extend(["part--", "part-1-", "part-1-0x", "part-+1-0", "part-1-0\n", "lock"].map(str::to_owned));
    names.push(absolute);
    names
}

#[test]
fn a_receipt_that_names_no_part_of_the_sink_is_refused() -> Result<(), Cause> {
    let root = tempfile::tempdir()?;
    let secret = root.path().join("secret");
    fs::write(&secret, SECRET)?;
    for name in hostile(&secret) {
        let output = root.path().join("out.txt");
        let sink = File::at(&output).sink(Text);
        sink.recover(Epoch(0), &[])?;
        let receipt = format!(r#"{{"part":{},"bytes":{}}}"#, serde_json::to_string(&name)?, SECRET.len());
        let receipts = [receipt.into_bytes()];
        for outcome in [sink.recover(Epoch(1), &receipts), sink.publish(Epoch(1), &receipts)] {
            let refused = outcome.expect_err("the receipt names no part").to_string();
            assert!(refused.contains("receipt") && refused.contains("is no part"), "{name:?}: {refused}");
            assert!(!refused.contains('\n') && !refused.contains('\0'), "{refused}");
        }
        assert_eq!(fs::read_to_string(&secret)?, SECRET);
        assert_eq!(fs::read_to_string(&output)?, "");
    }
    Ok(())
}

#[test]
fn two_receipts_for_one_part_are_refused() -> Result<(), Cause> {
    let root = tempfile::tempdir()?;
    let output = root.path().join("out.txt");
    let sink = File::at(&output).sink(Text);
    sink.recover(Epoch(0), &[])?;
    fs::write(root.path().join(".out.txt.staged/part-1-0"), "a\n")?;
    let receipt = br#"{"part":"part-1-0","bytes":2}"#.to_vec();
    let refused = sink.publish(Epoch(1), &[receipt.clone(), receipt.clone()]).expect_err("one part, twice");
    assert!(refused.to_string().contains("another one names the same part"), "{refused}");
    sink.publish(Epoch(1), &[receipt])?;
    assert_eq!(fs::read_to_string(&output)?, "a\n");
    Ok(())
}

#[test]
fn a_split_that_is_none_of_the_paths_is_not_opened() -> Result<(), Cause> {
    let root = tempfile::tempdir()?;
    let (own, secret) = (root.path().join("own"), root.path().join("secret"));
    fs::write(&own, "a\n")?;
    fs::write(&secret, SECRET)?;
    let source = File::at(&own).lines(Text);
    let mut names = hostile(&secret);
    names.extend([format!("{}/", own.display()), format!("{}/../own", root.path().display())]);
    for name in names {
        match source.open(&name, None) {
            Ok(_) => panic!("{name:?} was opened"),
            Err(refused) => assert!(refused.to_string().contains("not among the paths"), "{refused}"),
        }
    }
    Ok(())
}

/// The path of an output is the user's own, and yet the names of the staging directory and of what lies in it are
/// made of it: they stay beside it, whatever it is called.
#[test]
fn an_output_of_any_name_is_staged_beside_itself() -> Result<(), Cause> {
    for name in ["-rf", "a b", "part-1-0", ".hidden", "new\nline", "..a", "%s", "lock"] {
        let root = tempfile::tempdir()?;
        let folder = root.path().join("folder");
        fs::create_dir(&folder)?;
        File::at(folder.join(name)).sink(Text).recover(Epoch(0), &[])?;
        let mut found: Vec<_> = fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_, Cause>>()?;
        found.sort();
        let mut expected = vec![name.to_owned(), format!(".{name}.staged")];
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(fs::read_dir(root.path())?.count(), 1);
    }
    #[cfg(unix)]
    {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let root = tempfile::tempdir()?;
        for name in [b"\xFF", b"\xFE"] {
            File::at(root.path().join(OsStr::from_bytes(name))).sink(Text).recover(Epoch(0), &[])?;
        }
        assert_eq!(fs::read_dir(root.path())?.count(), 4, "two outputs and a staging directory for each");
    }
    for name in ["..", "a/.."] {
        let refused = File::at(name).sink(Text).recover(Epoch(0), &[]).expect_err("is a directory");
        assert!(refused.to_string().contains("is not a regular file"), "{refused}");
    }
    Ok(())
}
