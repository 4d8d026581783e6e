//! The process defends itself: what it cannot do behind its fence, what others cannot see of it, and what runs outside.

use crate::support::*;
use ckvault::media::fence::{Needs, raise};
use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha256};
use ssh_key::private::{KeypairData, SkEd25519};
use ssh_key::public::{self, KeyData};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, SshSig};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Where the next function finds what it tries to reach.
const PLACE: &str = "CKVAULT_TEST_PLACE";

/// What is tried behind the fence, the first version of Landlock that knows of it, and whether it may succeed.
struct Attempt(&'static str, i32, bool, fn(&Path) -> io::Result<()>);

const ATTEMPTS: [Attempt; 29] = [
    Attempt("read a file", 1, true, |p| fs::read(p.join("read/file")).map(drop)),
    Attempt("list a directory", 1, true, |p| fs::read_dir(p.join("read")).map(drop)),
    Attempt("write to a file to be read", 1, false, |p| {
        File::options().append(true).open(p.join("read/file")).map(drop)
    }),
    Attempt("make a file beside it", 1, false, |p| File::create(p.join("read/new")).map(drop)),
    Attempt("remove it", 1, false, |p| fs::remove_file(p.join("read/file"))),
    Attempt("rename it", 2, false, |p| fs::rename(p.join("read/file"), p.join("read/other"))),
    Attempt("move it away", 2, false, |p| fs::rename(p.join("read/file"), p.join("write/other"))),
    Attempt("link it away", 2, false, |p| fs::hard_link(p.join("read/file"), p.join("write/other"))),
    Attempt("make a file", 1, true, |p| fs::write(p.join("write/new"), "x")),
    Attempt("cut a file", 1, true, |p| File::create(p.join("write/new")).map(drop)),
    Attempt("make a directory", 1, true, |p| fs::create_dir(p.join("write/dir"))),
    Attempt("make a symbolic link", 1, true, |p| symlink("x", p.join("write/link"))),
    Attempt("rename a file into another directory", 2, true, |p| {
        fs::rename(p.join("write/new"), p.join("write/dir/new"))
    }),
    Attempt("make a second name", 2, true, |p| fs::hard_link(p.join("write/dir/new"), p.join("write/again"))),
    Attempt("remove a file", 1, true, |p| fs::remove_file(p.join("write/again"))),
    Attempt("make a fifo", 1, false, |p| {
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        Ok(rustix::fs::mknodat(rustix::fs::CWD, p.join("write/fifo"), kind, mode, 0)?)
    }),
    Attempt("write through a link that leads out", 1, false, |p| fs::write(p.join("write/out"), "x")),
    Attempt("make a file where directories are received", 1, false, |p| fs::write(p.join("receive/new"), "x")),
    Attempt("move a file there", 2, false, |p| fs::rename(p.join("write/file"), p.join("receive/file"))),
    Attempt("move a directory there", 2, true, |p| fs::rename(p.join("write/dir"), p.join("receive/dir"))),
    Attempt("read elsewhere", 1, false, |p| fs::read(p.join("secret")).map(drop)),
    Attempt("list elsewhere", 1, false, |p| fs::read_dir(p).map(drop)),
    Attempt("cut a file elsewhere", 3, false, |p| truncate(&p.join("secret"))),
    Attempt("write elsewhere", 1, false, |p| fs::write(p.join("secret"), "x")),
    Attempt("run a program", 1, false, |_| Command::new("true").status().map(drop)),
    Attempt("run this program", 1, false, |_| Command::new("/proc/self/exe").arg("--help").status().map(drop)),
    Attempt("connect", 4, false, |p| TcpStream::connect(("127.0.0.1", port(p))).map(drop)),
    Attempt("connect to a socket that has no file", 6, false, |p| UnixStream::connect_addr(&hidden(p)).map(drop)),
    Attempt("send a datagram", 10, false, |p| {
        UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", ("127.0.0.1", port(p))).map(drop)
    }),
];

fn truncate(path: &Path) -> io::Result<()> {
    File::options().write(true).truncate(true).open(path).map(drop)
}

fn port(place: &Path) -> u16 {
    place.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn hidden(place: &Path) -> SocketAddr {
    SocketAddr::from_abstract_name(place.as_os_str().as_encoded_bytes()).unwrap()
}

/// A fence never comes down, so this is run by the next test, in a process of its own.
#[test]
#[ignore = "run by nothing_else_is_reached_behind_the_fence"]
fn behind_the_fence() {
    let Some(place) = std::env::var_os(PLACE) else { return skip("not run by the test that prepares it") };
    let place = Path::new(&place);
    let needs = |name: &str| vec![place.join(name)];
    let open = File::open(place.join("secret")).unwrap();
    let fence =
        raise(&Needs { read: needs("read"), write: needs("write"), receive: needs("receive"), ..Needs::default() });
    let Some(abi) = fence.landlock_abi.filter(|abi| *abi > 1) else {
        return skip(&format!("this kernel has no fence to test: {fence:?}"));
    };
    let mut wrong = Vec::new();
    for Attempt(what, since, allowed, attempt) in ATTEMPTS {
        if abi < since {
            skip(&format!("to {what} is known to Landlock since version {since}, and this kernel has {abi}"));
            continue;
        }
        // A thread that is started behind the fence is behind it too.
        let done = std::thread::scope(|scope| scope.spawn(|| attempt(place)).join().unwrap());
        match done {
            Ok(()) if allowed => {}
            Err(e) if !allowed && is_forbidden(&e) => {}
            other => wrong.push(format!("to {what}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "ABI {abi}:\n{}", wrong.join("\n"));
    assert_eq!(io::read_to_string(open).unwrap(), "secret", "what was open stays open");
    let level = if abi >= 10 { "full" } else { "partial" };
    assert_eq!(fence.level, level);
}

/// The last is what a rename between directories gets that may not be.
fn is_forbidden(error: &io::Error) -> bool {
    [io::ErrorKind::PermissionDenied, io::ErrorKind::CrossesDevices].contains(&error.kind())
}

#[test]
fn nothing_else_is_reached_behind_the_fence() {
    let vault = Vault::empty();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = vault.path(listener.local_addr().unwrap().port().to_string());
    let _socket = UnixListener::bind_addr(&hidden(&place)).unwrap();
    ["read", "write", "receive"].iter().for_each(|dir| fs::create_dir_all(place.join(dir)).unwrap());
    for (name, text) in [("read/file", ""), ("write/file", ""), ("secret", "secret")] {
        fs::write(place.join(name), text).unwrap();
    }
    symlink("../secret", place.join("write/out")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fence::behind_the_fence", "--ignored", "--nocapture"]).env(PLACE, &place);
    let output = command.output().unwrap();
    let ran = Ran::new(&command, output).ok();
    ran.check(ran.stdout.contains("1 passed"), "it was not run");
    io::stderr().write_all(ran.stderr.as_bytes()).unwrap();
}

/// Three drives in `far`, the first of which is in the port `port/usb`; any one of them may be lost.
fn far_drives(vault: &Vault) {
    vault.checkpoint("source", 6_000_000);
    vault.make(&["far/drive1", "far/drive2", "far/drive3", "port/usb"]);
    vault.export("source --to far/drive1 --to far/drive2 --to far/drive3 --survive-drives 1 --same-device-ok");
}

#[test]
fn a_drive_that_is_mounted_later_is_read_behind_the_fence() {
    let vault = Vault::new();
    far_drives(&vault);
    let mount = |drive| vault.tool("mount", &format!("--bind far/{drive} port/usb")).run();
    if !is_root() || mount("drive1").code != Some(0) {
        return skip("a drive that is mounted later: only root may mount");
    }
    let change = "umount $CKVAULT_DRIVE && mount --bind far/drive${CKVAULT_DRIVE_NUMBER:-2} $CKVAULT_DRIVE";
    let call = vault.call("receiver", "import port/usb --to restored --next-drive-command").arg(change);
    let ran = call.run();
    vault.tool("umount", "port/usb").run().ok();
    ran.ok();
    crate::tree::assert_same(&vault.path("source"), &vault.path("restored"));
}

#[test]
fn every_verb_says_which_fence_holds() {
    let vault = Vault::new();
    vault.checkpoint("source", 50_000);
    vault.make(&["usb", "usb2"]);
    vault.export("source --to usb --parity 2+1");
    let mut fences = Vec::new();
    for run in ["verify usb", "inspect usb", "list usb", "repair usb", "import usb --to there", "import usb --to here"]
    {
        let report = vault.receiver(&format!("{run} --json -v")).ok();
        let fence = report.json()["fence"].clone();
        report.says(&format!("fence: {}", text(&fence["level"])));
        fences.push(fence);
    }
    let call = vault.call("sender", "export source --to usb2 --recipients keys.txt --json --next-drive-command");
    fences.push(call.arg("true").run().ok().json()["fence"].clone());
    assert!(fences.iter().all(|f| *f == fences[0]), "{fences:?}");
    let abi = fences[0]["landlock_abi"].as_u64();
    match text(&fences[0]["level"]) {
        "none" => assert!(fences[0]["why"].is_string() && abi.is_none_or(|abi| abi < 2)),
        level => assert!(["full", "partial"].contains(&level) && abi.is_some()),
    }
    let quiet = vault.receiver("verify usb").ok();
    quiet.check(!quiet.stderr.contains("fence"), "it was not asked");
}

/// Another user than root, for whom the kernel makes differences.
const SOMEBODY: u32 = 65534;

/// An import that waits for its next drive: its command has written `/proc/self/status` to `status`, and ends when it can read
/// `go`.
struct Waiting {
    vault: Vault,
    child: Child,
}

impl Waiting {
    fn begin() -> Waiting {
        let vault = Vault::new();
        vault.checkpoint("source", 6_000_000);
        vault.make(&["drive1", "drive2", "drive3"]);
        vault.export("source --to drive1 --to drive2 --to drive3 --survive-drives 1 --same-device-ok");
        let fifo = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, vault.path("go"), fifo.0, fifo.1, 0).unwrap();
        let program = vault.path("ckvault");
        fs::copy(env!("CARGO_BIN_EXE_ckvault"), &program).unwrap();
        let wait = "cat /proc/self/status > status.new; mv status.new status; read go < go; false";
        let arguments = "import drive1 --to there --next-drive-command";
        let home = vault.home("receiver");
        let call = Call::new(program.to_str().unwrap(), arguments, &vault.root).arg(wait).env("CKVAULT_HOME", home);
        let mut command = call.command();
        if is_root() {
            hand_over(&vault.root);
            command.uid(SOMEBODY).gid(SOMEBODY);
        }
        Waiting { child: command.spawn().unwrap(), vault }
    }

    /// What the command has found out about itself.
    fn status_of_command(&mut self) -> String {
        let begun = Instant::now();
        while !self.vault.path("status").exists() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the command was not run");
            assert!(self.child.try_wait().unwrap().is_none(), "it did not wait");
            std::thread::sleep(Duration::from_millis(10));
        }
        fs::read_to_string(self.vault.path("status")).unwrap()
    }

    /// A file in `/proc` about the import itself.
    fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    fn end(mut self) {
        fs::write(self.vault.path("go"), "\n").unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(7));
    }
}

fn hand_over(path: &Path) {
    chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| hand_over(&entry.unwrap().path()));
    }
}

/// What stands in a line of a file in `/proc` behind a name.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

#[test]
fn nobody_looks_into_the_process_and_its_secrets_are_not_swapped_out() {
    let mut waiting = Waiting::begin();
    let command = waiting.status_of_command();
    let (status, limits) = (waiting.proc("status"), waiting.proc("limits"));
    // The kernel gives to root what others of this user must not look into.
    let owner = |pid: &str| fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    let owners = (owner(&waiting.child.id().to_string()), owner(field(&command, "PPid:")));
    waiting.end();
    assert!(owners.0 == 0 && owners.1 != 0, "{owners:?}");
    assert_eq!(field(&limits, "Max core file size").split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    match field(&limits, "Max locked memory").starts_with("0 ") {
        true => skip("locked memory: the limit is 0"),
        false => assert_ne!(field(&status, "VmLck:"), "0 kB"),
    }
    // What the fence implies holds for the process itself, and not for the command, which may have to run `sudo mount`.
    match field(&status, "NoNewPrivs:") {
        "1" => assert_eq!(field(&command, "NoNewPrivs:"), "0"),
        _ => skip("the command is outside of the fence: this kernel has none"),
    }
}

/// Answers for `ssh-keygen`: has the next function sign what it reads, and notes whether it is outside of the fence.
const TOKEN: &str = "#!/bin/sh\ncat > message; echo $5 > namespace; grep NoNewPrivs /proc/self/status >> privileges\n\
    $SIGNER --exact fence::sign_as_a_security_key --ignored > /dev/null && cat signature\n";

fn token() -> (ed25519_dalek::SigningKey, public::SkEd25519) {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let point = public::Ed25519PublicKey(secret.verifying_key().to_bytes());
    (secret, public::SkEd25519::new(point, "ssh:"))
}

/// Run as what is in the security key: signs over the hash of the application, flags, counter and the hash of the message.
#[test]
#[ignore = "run by a_security_key_signs_outside_of_the_fence"]
fn sign_as_a_security_key() {
    let Some(place) = std::env::var_os(PLACE) else { return skip("not run by the test that prepares it") };
    let file = |name: &str| Path::new(&place).join(name);
    let namespace = fs::read_to_string(file("namespace")).unwrap();
    let message = fs::read(file("message")).unwrap();
    let message = SshSig::signed_data(namespace.trim(), HashAlg::Sha512, &message).unwrap();
    let (secret, public) = token();
    let touched = [1, 0, 0, 0, 9];
    let signed = [&Sha256::digest(b"ssh:")[..], &touched, &Sha256::digest(&message)].concat();
    let data = [&secret.sign(&signed).to_bytes()[..], &touched].concat();
    let signature = ssh_key::Signature::new(Algorithm::SkEd25519, data).unwrap();
    let armour = SshSig::new(KeyData::from(public), namespace.trim(), HashAlg::Sha512, signature).unwrap();
    fs::write(file("signature"), armour.to_pem(LineEnding::LF).unwrap().trim_end().to_owned() + "\n").unwrap();
}

#[test]
fn a_security_key_signs_outside_of_the_fence() {
    let vault = Vault::new();
    vault.checkpoint("source", 50_000);
    vault.make(&["usb", "bin"]);
    let pair = KeypairData::SkEd25519(SkEd25519::new(token().1, 1, [3; 16]).unwrap());
    let key = PrivateKey::new(pair, "token").unwrap();
    fs::write(vault.path("token"), key.to_openssh(LineEnding::LF).unwrap()).unwrap();
    fs::set_permissions(vault.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(vault.path("token.pub"), key.public_key().to_openssh().unwrap()).unwrap();
    fs::write(vault.path("bin/ssh-keygen"), TOKEN).unwrap();
    fs::set_permissions(vault.path("bin/ssh-keygen"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", vault.path("bin").display(), std::env::var("PATH").unwrap());
    let run = "export source --to usb --recipients keys.txt --volume-size 2M --signing-key token";
    let call = vault.call("sender", run).env("PATH", path).env(PLACE, &vault.root);
    call.env("SIGNER", std::env::current_exe().unwrap()).run().ok();
    let privileges = fs::read_to_string(vault.path("privileges")).unwrap();
    let all: Vec<&str> = privileges.lines().map(|l| l.trim_start_matches("NoNewPrivs:").trim()).collect();
    assert_eq!(all, ["0", "0"], "the probe and the manifest");
    assert_eq!(vault.verdict("usb --signers token.pub")["verdict"], "intact");
}
