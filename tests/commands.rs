//! The command line as people and scripts meet it: help texts, exit codes, errors.

use std::{
    fs,
    process::{Command, Output},
};

use clap::CommandFactory;
use firstlight::cli::Cli;

mod daemon;
mod wire;

/// The program with nothing of this machine's environment in its answers.
pub fn firstlight() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firstlight"));
    for name in ["URL", "TOKEN", "CONFIG", "LOG", "LAB_DIR"] {
        command.env_remove(format!("FIRSTLIGHT_{name}"));
    }
    command.env("COLUMNS", "100").env("TZ", "UTC");
    command
}

pub fn run(args: &[&str]) -> Output {
    firstlight().args(args).output().unwrap()
}

/// Exit code, stdout, stderr.
pub fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let mut book = String::new();
    let mut pages = vec![(Vec::new(), Cli::command())];
    while let Some((path, command)) = pages.pop() {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let (code, help, _) = told(&run(&args));
        assert_eq!(code, 0, "{path:?}");
        let examples = help.contains("Example") || help.contains("Start here");
        assert!(
            examples || path.first().is_some_and(|first| first == "lab"),
            "{path:?} has no example"
        );
        assert!(command.get_about().is_some(), "{path:?}");
        book.push_str(&format!("$ firstlight {}\n{help}\n", args.join(" ")));
        let mut inner: Vec<_> =
            command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned().collect();
        inner.reverse();
        pages.extend(inner.into_iter().map(|inner| {
            let mut path = path.clone();
            path.push(inner.get_name().to_owned());
            (path, inner)
        }));
    }
    insta::assert_snapshot!("help", book);
}

#[test]
fn a_mistyped_command_is_usage_and_not_failure() {
    for args in [
        &["depoly"][..],
        &["get", "blade5"],
        &["watch", "--timeout", "soon"],
        &["apply"],
        &["power", "up", "b1"],
    ] {
        let (code, out, err) = told(&run(args));
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.contains("--help"), "{err}");
    }
}

#[test]
fn a_daemon_that_does_not_answer_is_named_with_what_to_do() {
    // A port that was just free: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    for args in [
        &["get", "blades"][..],
        &["export"],
        &["plan", "a"],
        &["hold", "b1"],
        &["describe", "blade", "b1"],
    ] {
        let (code, out, err) = told(&run(&[args, &["--url", &url]].concat()));
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
        assert!(err.contains(&url) && err.contains("firstlight serve"), "{err}");
    }
    let (code, _, err) = told(&run(&["get", "blades", "--url", "https://10.0.0.1"]));
    assert!(code == 1 && err.contains("SSH tunnel"), "{err}");
}

#[test]
fn something_else_on_the_daemons_port_is_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nnginx");
    });
    let (code, _, err) = told(&run(&["get", "blades", "--url", &url]));
    assert!(code == 1 && err.contains("not like Firstlight") && err.contains("404"), "{err}");
    server.join().unwrap();
}

#[test]
fn a_bad_configuration_is_exit_code_2_with_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("firstlight.toml");
    let config = file.to_str().unwrap();
    fs::write(&file, "site = \"x\"\n[boot]\ninterfaces = [\"lo\"]\nhtpp = \"127.0.0.1:80\"\n")
        .unwrap();
    let backup = dir.path().join("b").display().to_string();
    for args in [
        &["serve"][..],
        &["check"],
        &["image", "list"],
        &["backup", &backup],
        &["restore", &backup],
    ] {
        let (code, _, err) = told(&run(&[args, &["--config", config]].concat()));
        assert_eq!(code, 2, "{args:?}: {err}");
        assert!(err.contains(config) && err.contains("line 4") && err.contains("htpp"), "{err}");
    }
    let (code, _, err) = told(&run(&["serve", "--config", "/nonexistent/f.toml"]));
    assert!(code == 2 && err.contains("/nonexistent/f.toml"), "{err}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status =
        firstlight().args(["image", "list", "--data-dir", data]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn images_are_taken_in_listed_and_verified_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let image =
        |args: &[&str]| told(&run(&[&["image"][..], args, &["--data-dir", &data]].concat()));
    assert_eq!(image(&["list"]), (0, "there are no images\n".to_owned(), String::new()));
    let (code, _, err) = image(&["missing"]);
    assert!(code == 1 && err.contains("image import"), "{err}");
    let (code, _, err) = image(&["import", "/nonexistent"]);
    assert!(
        code == 1 && err.contains("nothing was imported") && err.contains("/nonexistent"),
        "{err}"
    );
    assert_eq!(image(&["gc"]).0, 0);
}
