//! Programs that are run besides this one, and the process that runs them where this one may not: a helper that was started
//! before the fence was raised, and that runs nothing but what it was told of then.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

/// A program to be run. What it is to do is settled before the fence is raised; only what it reads may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// Its name or path.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables of its environment, besides those of this process. One that is settled as empty may be a number.
    pub variables: Vec<(String, OsString)>,
    /// Whether what it prints is the answer.
    pub answers: bool,
    /// What it reads.
    #[serde(skip)]
    pub input: Vec<u8>,
}

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Whether it says that it succeeded.
    pub success: bool,
    /// How it ended, in words.
    pub status: String,
    /// Its answer.
    #[serde(skip)]
    pub output: Vec<u8>,
}

impl Errand {
    /// Runs it to its end. What it prints and is no answer goes to `chatter`.
    pub fn run(&self, chatter: Stdio) -> io::Result<Done> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(if self.answers { Stdio::piped() } else { chatter });
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            // It may answer before it has read everything, and may end without: its status says whether that is right.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(&self.input)));
            child.wait_with_output()
        })?;
        Ok(Done { success: output.status.success(), status: output.status.to_string(), output: output.stdout })
    }

    fn is_settled(&self, settled: &Errand) -> bool {
        let number = |value: &OsString| value.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        let mut pairs = self.variables.iter().zip(&settled.variables);
        self.program == settled.program
            && self.arguments == settled.arguments
            && self.answers == settled.answers
            && self.variables.len() == settled.variables.len()
            && pairs.all(|(own, as_settled)| {
                own == as_settled || own.0 == as_settled.0 && as_settled.1.is_empty() && number(&own.1)
            })
    }
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Done(Done),
    Failed(String, Option<i32>),
}

/// The helper: runs what it is asked to run, if that is one of the errands that it was told of first, until nobody asks any
/// more.
pub fn serve(mut from: impl Read, mut to: impl Write, chatter: impl Fn() -> Stdio) -> io::Result<()> {
    let Some(settled) = take(&mut from)? else { return Ok(()) };
    let settled: Vec<Errand> = serde_json::from_slice(&settled)?;
    while let Some(errand) = take(&mut from)? {
        let mut errand: Errand = serde_json::from_slice(&errand)?;
        errand.input = take(&mut from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let done = match settled.iter().any(|s| errand.is_settled(s)) {
            true => errand.run(chatter()),
            false => Err(io::Error::other("not one of the programs that were settled")),
        };
        let (reply, output) = match done {
            Ok(mut done) => (Reply::Done(done.clone()), std::mem::take(&mut done.output)),
            Err(error) => (Reply::Failed(error.to_string(), error.raw_os_error()), Vec::new()),
        };
        put(&mut to, &serde_json::to_vec(&reply)?)?;
        put(&mut to, &output)?;
    }
    Ok(())
}

/// Tells the helper which errands it will be asked to do.
pub fn settle(mut to: impl Write, errands: &[Errand]) -> io::Result<()> {
    put(&mut to, &serde_json::to_vec(errands)?)
}

/// Has the helper run one of them.
pub fn ask(mut to: impl Write, mut from: impl Read, errand: &Errand) -> io::Result<Done> {
    let gone = || io::Error::other("the process that runs it is gone");
    put(&mut to, &serde_json::to_vec(errand)?).and_then(|()| put(&mut to, &errand.input)).map_err(|_| gone())?;
    let reply: Reply = serde_json::from_slice(&take(&mut from)?.ok_or_else(gone)?)?;
    let output = take(&mut from)?.ok_or_else(gone)?;
    match reply {
        Reply::Done(done) => Ok(Done { output, ..done }),
        Reply::Failed(_, Some(number)) => Err(io::Error::from_raw_os_error(number)),
        Reply::Failed(why, None) => Err(io::Error::other(why)),
    }
}

/// Sends one piece, its length first.
fn put(to: &mut impl Write, piece: &[u8]) -> io::Result<()> {
    to.write_all(&(piece.len() as u64).to_le_bytes())?;
    to.write_all(piece)?;
    to.flush()
}

/// Receives one piece; `None` at the end.
fn take(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 8];
    match from.read_exact(&mut len) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let (len, mut piece) = (u64::from_le_bytes(len), Vec::new());
    let read = from.take(len).read_to_end(&mut piece)?;
    if read as u64 == len { Ok(Some(piece)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    fn shell(script: &str) -> Errand {
        let variables = vec![("DRIVE".to_owned(), "/media/us b".into()), ("NUMBER".to_owned(), OsString::new())];
        Errand {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables,
            answers: true,
            input: Vec::new(),
        }
    }

    /// What a helper that was told of `settled` says to these errands.
    fn answers(settled: &[Errand], asked: &[Errand]) -> Vec<io::Result<Done>> {
        let (mut to, mut said) = (Vec::new(), Vec::new());
        settle(&mut to, settled).unwrap();
        for errand in asked {
            put(&mut to, &serde_json::to_vec(errand).unwrap()).unwrap();
            put(&mut to, &errand.input).unwrap();
        }
        serve(&to[..], &mut said, Stdio::null).unwrap();
        let mut said = &said[..];
        asked.iter().map(|errand| ask(io::sink(), &mut said, errand)).collect()
    }

    #[test]
    fn the_helper_runs_what_was_settled_with_any_input() {
        let settled = shell("cat; printf %s \"$DRIVE $NUMBER\"; exit 3");
        let mut errand = settled.clone();
        errand.input = vec![0xff; 100_000];
        errand.variables[1].1 = "12".into();
        let done = answers(from_ref(&settled), &[errand.clone(), errand.clone()]);
        for done in done {
            let done = done.unwrap();
            assert!(!done.success && done.status.contains('3'), "{}", done.status);
            assert_eq!(done.output, [&errand.input[..], b"/media/us b 12"].concat());
        }
    }

    #[test]
    fn who_ends_without_reading_is_heard_and_who_answers_meanwhile_is_not_kept_waiting() {
        let input = vec![b'x'; 1 << 20];
        let ended = Errand { input: input.clone(), ..shell("exit 4") }.run(Stdio::null()).unwrap();
        assert!(ended.status.contains('4'), "{}", ended.status);
        let echo = Errand { input: input.clone(), ..shell("cat") }.run(Stdio::null()).unwrap();
        assert!(echo.output == input);
    }

    #[test]
    fn the_helper_runs_nothing_else() {
        let settled = shell("true");
        let changed = |change: fn(&mut Errand)| {
            let mut errand = settled.clone();
            change(&mut errand);
            errand
        };
        let others = [
            changed(|e| e.program = "bash".into()),
            changed(|e| e.arguments[1] = "touch /tmp/x".into()),
            changed(|e| e.arguments.push("x".into())),
            changed(|e| e.variables[1].0 = "LD_PRELOAD".into()),
            changed(|e| e.variables[0].1 = "/etc".into()),
            changed(|e| e.variables[1].1 = "1 /etc".into()),
            changed(|e| e.variables.push(("PATH".into(), "/tmp".into()))),
            changed(|e| e.answers = false),
        ];
        for done in answers(from_ref(&settled), &others) {
            assert!(done.unwrap_err().to_string().contains("settled"));
        }
        assert!(answers(from_ref(&settled), from_ref(&settled))[0].is_ok());
    }

    #[test]
    fn a_helper_that_is_gone_is_an_error() {
        let gone = ask(Vec::new(), &b""[..], &shell("true"));
        assert!(gone.unwrap_err().to_string().contains("gone"));
    }
}
