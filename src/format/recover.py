#!/usr/bin/env python3
"""Restores an undamaged ckvault set without ckvault: needs Python 3.6 or later, and age, zstd, ssh-keygen and b3sum on PATH.

    python3 -I recover.py SETDIR... --signers FILE --identity FILE --to DIR

SETDIR: a *.ckvault directory; give all of them when the set lies on several drives, of all its parts when it has several.
--signers: an allowed_signers file: whom you trust.  --signer: who of them must have signed.  --revoked: keys that count for nobody.
--links keep: links may lead out of DIR.
--unverified: go on without --signers, ssh-keygen or b3sum; what is restored may then be from anybody.

This script cannot say whether it is the one that was signed: RECOVER.txt says how to see that, and to run a copy.
Nothing on a drive is believed but what is signed, or has a hash that is. Each file is opened and read once, and DIR gets its
name when everything has been compared. Rules that are named by number stand in ckvault-format(5). Parity is not used.
It ends with 0, or 1: hostile set, or one that needs a newer recover.py, or a tool is missing; 2: wrong arguments; 5: not signed
by --signers, of an older format, or the key of another set; 6: wrong identity; 7: something is damaged or not here, or there is
no room.
"""
import sys

# A courier may have put modules beside this script: they come from Python's own directories and no others.
if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]
sys.path[:] = [p for p in sys.path if p.startswith((sys.base_prefix + "/", sys.base_exec_prefix + "/"))]

import argparse, array, base64, collections, io, itertools, json, os, re, shutil, signal, stat, subprocess, tempfile, threading

FORMAT = "1"
KIB, MIB = 1 << 10, 1 << 20
FRAME = 16  # magic, length, segment number
FILTER = (0x184D2A5F).to_bytes(4, "little")
DAMAGED = "bring another drive, or repair the set with ckvault"
TOOLS = set()
NUMBER = itertools.count()


def say(what):
    """Whatever a set made us say: a terminal gets printable ASCII."""
    print(re.sub("[^ -~\n]", lambda odd: ascii(odd.group())[1:-1], what), file=sys.stderr, flush=True)


def die(code, what, hint):
    say("recover.py: %s\nhint: %s" % (what, hint))
    sys.exit(code)


def need(holds, what):
    """A rule for what was signed: who breaks it has signed a lie, and no other drive will be better."""
    if not holds:
        die(1, what, "the sender signed a hostile or broken set: ask what happened there")


def number(value, least, most):
    need(type(value) is int and least <= value <= most, "a number in the set is out of bounds: %.50a" % (value,))
    return value


def show(path):
    return ascii(os.fsdecode(path))


# Other programs get data through pipes, and what they may give back is bounded.


def run(command, data, most, **more):
    """What a program makes of data; nothing if it fails, or if that is too much."""

    def feed():
        try:
            with child.stdin as pipe:
                pipe.write(data)
        except OSError:
            pass  # it has ended before: its status says whether that is right

    out, size = [], 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more) as child:
        feeder = threading.Thread(target=feed)
        feeder.start()
        for piece in iter(lambda: child.stdout.read(MIB), b""):
            out.append(piece)
            size += len(piece)
            if size > most:
                child.kill()
                break
        feeder.join()
    # What ends by itself before it is killed may have given too much all the same.
    return b"".join(out) if child.returncode == 0 and size <= most else None


def age(options, secret, data):
    """age with a secret of the set handed over in a pipe, so that it touches no disk and no argument list."""
    read, write = os.pipe()
    os.write(write, secret)
    os.close(write)
    out = run(["age"] + options + ["/dev/fd/%d" % read], data, len(data) + KIB, pass_fds=[read])
    os.close(read)
    return out


def decrypt(identity, data):
    return age(["-d", "-i"], identity, data)


def hasher():
    """A b3sum that is fed bit by bit."""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return subprocess.Popen(["b3sum", "--no-names"], **pipes) if "b3sum" in TOOLS else None


def digest(hashing):
    return hashing.communicate()[0].decode().strip()


# BLAKE3 for metadata. Many blocks at a time: a number holds the same word of all, 64 bits apart. About 20 MB a second.

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIXED = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
FIRST, LAST, PARENT, ROOT = 1, 2, 4, 8


def compress(state, words, numbers, length, flags, one):
    mask = one * 0xFFFFFFFF
    v = state + [one * x for x in IV[:4]] + [numbers, 0, one * length, one * flags]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(MIXED):
            for word, r, s in ((words[2 * i], 16, 12), (words[2 * i + 1], 8, 7)):
                v[a] = v[a] + v[b] + word & mask
                x = v[d] ^ v[a]
                v[d] = (x >> r | x << 32 - r) & mask
                v[c] = v[c] + v[d] & mask
                x = v[b] ^ v[c]
                v[b] = (x >> s | x << 32 - s) & mask
        words = [words[i] for i in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


def nodes(data, width, numbers, first, last):
    """What each `width` bytes come to, 32 bytes each: they are chunks, or pairs of such nodes."""
    n = len(numbers)
    one = int.from_bytes(b"\1\0\0\0\0\0\0\0" * n, "little")
    numbers = int.from_bytes(b"".join(i.to_bytes(8, "little") for i in numbers), "little")
    state = [one * x for x in IV]
    data += bytes(-len(data) % 64 if data else 64)
    for at in range(0, width or 1, 64):
        words = []
        for w in range(at, at + 64, 4):
            spread = bytearray(8 * n)
            for k in range(4):
                spread[k::8] = data[w + k :: len(data) // n]
            words.append(int.from_bytes(spread, "little"))
        flags = (first if at == 0 else 0) | (last if at + 64 >= width else 0)
        state = compress(state, words, numbers, min(64, width - at), flags, one)
    out = bytearray(32 * n)
    for w, word in enumerate(state):
        for k in range(4):
            out[4 * w + k :: 32] = word.to_bytes(8 * n, "little")[k::8]
    return bytes(out)


def blake3(data):
    if len(data) > 4 * MIB and "b3sum" in TOOLS:
        return run(["b3sum", "--no-names"], data, KIB).decode().strip()
    return subtree(data, 0, ROOT)


def subtree(data, first, root):
    """The value of the tree over data that begins with this chunk: the hash, if it is the whole."""
    whole = max(0, len(data) - 1) // KIB
    tree, tail = b"", data[whole * KIB :]
    if whole:
        tree = nodes(data[: whole * KIB], KIB, range(first, first + whole), FIRST, LAST)
    tree += nodes(tail, len(tail), [first + whole], FIRST, LAST | (0 if whole else root))
    while len(tree) > 32:  # neighbours are paired, and one that is left over goes up as it is
        pairs = len(tree) // 64
        above = nodes(tree[: 64 * pairs], 64, [0] * pairs, PARENT, root if len(tree) == 64 else 0)
        tree = above + tree[64 * pairs :]
    return tree.hex()


# What lies on the drives, and who signed it.

# Rule 18: the second half of a signature by Ed25519 is less than the order of its group (RFC 8032, 5.1.7).
ORDER_OF_GROUP = (1 << 252) + 27742317777372353535851937790883648493
Part = collections.namedtuple("Part", "manifest hash signer places")


def open_file(place, name):
    """A regular file in a directory of the set: no link is followed, no pipe is waited for."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return os.fdopen(fd, "rb")
    os.close(fd)


def read_once(file, most):
    """All of a file, up to so many bytes; where a drive cannot read it, zeros, which nothing will prove."""
    data, size = bytearray(), min(most, os.fstat(file.fileno()).st_size)
    while len(data) < size:
        wanted = min(64 * KIB, size - len(data))
        try:
            data += os.pread(file.fileno(), wanted, len(data)) or bytes(wanted)
        except OSError:
            data += bytes(wanted)
    return bytes(data)


def read_copies(places, name, most):
    """The copies of a metadata file, each read once, and with one byte more than there may be if there are more."""
    for file in filter(None, [open_file(place, name) for place in places]):
        with file:
            data = read_once(file, most + 1)
        yield blake3(data), data


def copies(places, name, most):
    """Those that are not too long, by their hashes."""
    return collections.OrderedDict((hash, data) for hash, data in read_copies(places, name, most) if len(data) <= most)


def from_pieces(copies, signed):
    """What is put together from pieces of several copies, each proven alone (rules 78 and 79)."""
    size, length, pieces = signed["bytes"], 64 * KIB, []
    while length * 256 < size:
        length *= 2
    for n, value in enumerate(signed.get("pieces", [])):
        said = (data[n * length : min(size, (n + 1) * length)] for data in copies)
        pieces.append(next((piece for piece in said if subtree(piece, n * length // KIB, 0) == value), b""))
    data = b"".join(pieces)
    return data if blake3(data) == signed["blake3"] else None


def listed(part, name, most):
    """A copy that is as the manifest says (rule 22)."""
    signed = part.manifest["files"][name]
    found = collections.OrderedDict(read_copies(part.places, name, number(signed["bytes"], 1, most)))
    data = found.get(signed["blake3"]) or from_pieces(found.values(), signed)
    return data or die(7, "no copy of %s is as it was signed" % name, DAMAGED)


def key_slots(parts):
    """The key slot as it was signed, then those that were written anew: age files with a signature beside them (rule 81)."""
    signed, places = parts[0].manifest["files"]["keys.age"], [place for part in parts for place in part.places]
    slot = copies(places, "keys.age", number(signed["bytes"], 1, 16 * MIB)).get(signed["blake3"])
    anew = copies(filter(has_signature, places), "keys.age", 16 * MIB).items()
    anew = [copy for hash, copy in anew if hash != signed["blake3"] and is_age_file(copy)][:8]
    slots = [(slot, False)] * (slot is not None) + [(copy, True) for copy in anew]
    return slots or die(7, "no copy of keys.age is as it was signed", DAMAGED)


def has_signature(place):
    try:
        return stat.S_ISREG(os.stat("keys.age.sig", dir_fd=place, follow_symlinks=False).st_mode)
    except OSError:
        return False


def is_age_file(slot):
    """By its header, which is no longer than it may be (rule 56)."""
    header = re.match(rb"age-encryption\.org/v1\n(?:[ -~]*\n)+?--- [A-Za-z0-9+/]{43}\n", slot[: 2 * MIB])
    return header and header.group().count(b"\n-> ") in range(1, 1025)


def keygen(arguments, data):
    ran = subprocess.run(["ssh-keygen", "-Y"] + arguments, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if ran.returncode:
        say("ssh-keygen: " + show(ran.stderr.strip()))
    return None if ran.returncode else ran.stdout


def signer_of(manifest, signature, args):
    """Who signed, and with which key, if ssh-keygen finds it in the list of signers (rules 14 to 19)."""
    try:
        blob = base64.b64decode(b"".join(signature.split(b"\n")[1:-2]))
    except ValueError:
        return None
    lines = re.findall(b".{1,70}", base64.b64encode(blob))
    if signature != b"\n".join([b"-----BEGIN SSH SIGNATURE-----"] + lines + [b"-----END SSH SIGNATURE-----", b""]):
        return None
    fields, at = [], 10  # after the magic and the version: key, namespace, reserved, hash, signature
    while at < len(blob):
        end = at + 4 + int.from_bytes(blob[at : at + 4], "big")
        fields.append(blob[at + 4 : end])
        at = end
    if at != len(blob) or len(fields) != 5 or fields[2] or blob[6:10] != b"\0\0\0\1":
        return None
    key = fields[0]
    kind = key[4 : 4 + int.from_bytes(key[:4], "big")]
    if kind != b"ssh-ed25519" and not (kind == b"sk-ssh-ed25519@openssh.com" and blob[-5] & 1):
        return None
    half = 4 + len(kind) + 4 + 32  # a string with the type; of one with 64 bytes its length, and the first half
    if len(fields[4]) < half + 32 or int.from_bytes(fields[4][half : half + 32], "little") >= ORDER_OF_GROUP:
        return None
    path = "signature%d" % next(NUMBER)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(signature)
    files = ["-s", path, "-f", args.signers] + (["-r", args.revoked] if args.revoked else [])
    names = [os.fsencode(args.signer)] if args.signer else (keygen(["find-principals"] + files[:4], b"") or b"").splitlines()
    # What excludes somebody names nobody, and neither does a pattern beside it; and a name is printable and one word (rule 19).
    form = rb"[^!*?\s-][^*?\s]*\Z" if any(name[:1] == b"!" for name in names) else rb"[^!\s-]\S*\Z"
    for name in names:
        if re.match(form, name) and os.fsdecode(name).isprintable() and keygen(["verify", "-n", "ckvault", "-I", name] + files, manifest) is not None:
            return show(name)[1:-1], kind.decode() + " " + base64.b64encode(key).decode()
    return None


def parse(line):
    """An object in JSON, but for what another reader could understand otherwise (rules 3 and 60 to 63)."""

    def once(pairs):
        need(len(pairs) == len(dict(pairs)) <= 1024, "an object in the set has a field twice, or too many")
        return dict(pairs)

    def integer(digits):
        need(re.match("(?!-0)-?[0-9]{1,20}\\Z", digits), "a number in the set is not written as an integer, or has more than 20 digits")
        return int(digits)

    need(line[-1:] == b"\n", "a line in the set has no line feed")
    value = json.loads(line.decode(), object_pairs_hook=once, parse_int=integer, parse_float=integer, parse_constant=integer)
    need(type(value) is dict, "a line in the set is no object")
    return value


def number_of(version):
    """That of a version; what has none is older than all."""
    return int(version) if re.match("[1-9][0-9]{0,8}\\Z", version) else 0


def need_newer(what, name):
    die(1, "the set needs the %s %.66a, which is newer than this recover.py (it reads %s)" % (what, name, FORMAT), "use the one beside the set, or a newer ckvault")


def require(version, script):
    """Rules 1 and 70. No version reads what development versions wrote."""
    if number_of(version) > number_of(FORMAT):
        need_newer("format", version)
    if version != FORMAT:
        draft = re.match("draft-[0-9]{1,9}\\Z", version)
        why = ": a development version wrote it, and this recover.py (it reads %s) reads no drafts" if draft else ", and this reads %s"
        hint = "if it may be that old, it is not lost: check %s and run a copy of it as READING A SET BY HAND in ckvault-format(5) says"
        die(5, ("the set has the format %.66a" + why) % (version, FORMAT), hint % script)


def require_none(features):
    """Rules 2 and 69: there are none yet."""
    need(type(features) is list, "the features that the set needs are no list")
    for feature in features:
        need_newer("feature", feature)


def read_part(path, args):
    """The part that one directory is of. Its manifest is not parsed before somebody trusted has signed it."""
    places = [os.open(path, os.O_RDONLY | os.O_DIRECTORY)]
    for further in ("copy", "third"):
        try:
            places.append(os.open(further, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=places[0]))
        except OSError:
            pass  # there is another copy
    manifests = copies(places, "manifest.json", 64 * MIB)
    if not manifests:
        die(7, "there is no manifest.json in " + show(path), "name the *.ckvault directories of the set")
    trusted = {hash: [None] for hash in list(manifests)[:1]}
    if args.signers:
        signatures = copies(places, "manifest.json.sig", 16 * KIB).values()
        signers = [(hash, signer_of(manifests[hash], signature, args)) for hash in manifests for signature in signatures]
        trusted = {hash: [signer for other, signer in signers if signer and other == hash] for hash, signer in signers if signer}
    if len(trusted) != 1:
        die(5, "the set in %s is not signed by one of your signers" % show(path), "do not use it; ask the sender for the public key")
    ((hash, signers),) = trusted.items()
    signer = only_signer(signers)
    m = parse(manifests[hash])
    require(m["format"], show(os.path.join(path, "recover.py")))
    require_none(m["critical"])
    need(type(m["last"]) is bool and (number(m["part"], 1, 1 << 16) > 1) == (m["previous"] is not None), "part and previous do not agree")
    need(m["segment_bytes"] in [64 * KIB << n for n in range(8)], "the segments have no known length (rule 88)")
    need(m["block_bytes"] in [64 * KIB << n for n in range(5)], "the blocks have no known length (rule 86)")
    if m["filter"] not in ("planes", "zstd"):
        need_newer("filter", m["filter"])
    return Part(m, hash, signer, places)


def only_signer(signers):
    """Of several keys that are trusted, only the user can say whose set it is (rule 20)."""
    if len({signer and signer[1] for signer in signers}) > 1:
        names = sorted({signer[0] for signer in signers})
        die(5, "the set is signed with several keys, and you trust all of them: those of " + ", ".join(names), "say who packed it, with --signer NAME; or leave the others out of --signers")
    return signers[0]


def read_parts(args):
    """The parts of the set in order, all of one export, and none missing (rules 21 and 50)."""
    parts = {}
    for part in [read_part(path, args) for path in args.setdir]:
        known = parts.setdefault(part.manifest["part"], part)
        if known.hash != part.hash:
            die(5, "these directories are of different sets", "name those of one set")
        only_signer([known.signer, part.signer])
        known.places.extend(part.places)
    for n in range(1, max(parts) + 1):
        if n not in parts:
            die(7, "part %d of the set is not here" % n, "name its directory too")
        one, this = parts[1], parts[n]
        shared = all(one.manifest[f] == this.manifest[f] for f in ("set", "recipient_blake3", "segment_bytes")) and one.signer == this.signer
        slots = {part.manifest["files"]["keys.age"]["blake3"] for part in (one, this)}
        if not shared or len(slots) > 1 or n > 1 and (this.manifest["previous"] != parts[n - 1].hash or parts[n - 1].manifest["last"]):
            die(5, "part %d does not belong to the others" % n, "name the directories of one set")
    if not parts[n].manifest["last"]:
        die(7, "there are more parts than %d" % n, "name their directories too")
    if parts[1].signer:
        say("signature verified: " + parts[1].signer[0])
    return [parts[n] for n in sorted(parts)]


# What is inside.


def open_slot(parts, args):
    """The set's own identity, out of the first key slot that holds it."""
    slots, holds_another = key_slots(parts), False
    for slot, anew in slots:
        opened = run(["age", "-d", "-i", args.identity], slot, 64 * KIB)
        secret = opened is not None and own_identity(opened, parts[0].manifest["recipient_blake3"], anew)
        if secret:
            if anew:
                say("keys.age is not the one that was signed with the set: it was written anew, and holds the key of the set")
            return secret
        holds_another = holds_another or opened is not None
        if holds_another and not anew:
            break
    if holds_another:
        die(5, "keys.age holds the key of another set", DAMAGED)
    die(6, "age cannot open keys.age with this identity", "give the identity of a recipient" + (" for whom it was written anew" if all(anew for _, anew in slots) else ""))


def own_identity(slot, signed, anew):
    """The set's own identity, if it is that of the recipient whose hash was signed (rule 31)."""
    slot = slot.replace(b"\r\n", b"\n")
    identities = re.findall(rb"^AGE-.*", slot, re.MULTILINE)
    ours = [line for line in identities if line.startswith(b"AGE-SECRET-KEY-1")]
    if identities and not ours and not anew:
        die(1, "keys.age holds an identity of a type that this does not know", "use a newer ckvault")
    named = [name for name in re.findall(rb"^# public key: (age1[0-9a-z]{58})$", slot, re.MULTILINE) if blake3(name) == signed]
    if ours and named and re.match(rb"[0-9A-Z-]{74}\Z", ours[0]):
        # What is encrypted to the one can be opened with the other: they belong together.
        if decrypt(ours[0], age(["-R"], named[0], b"ours") or b"") == b"ours":
            return ours[0] + b"\n"
    return None


BAD_PATH = re.compile(br"(^|/)\.{0,2}(/|\Z)|\0|[^/]{256}")
Entry = collections.namedtuple("Entry", "path kind size extents blake3 target mode mtime xattrs offset")


def name(value, least, most):
    raw = value.encode() if type(value) is str else base64.b64decode(value["base64"], validate=True)
    if type(value) is not str:
        # In base64 is only what is not UTF-8, and in one spelling (rule 64).
        need(base64.b64encode(raw).decode() == value["base64"] and raw.decode(errors="ignore").encode() != raw, "a name has another spelling (rule 64)")
    number(len(raw), least, most)
    return raw


def read_extents(extents, size):
    """Where the data of a sparse file lies (rules 37 and 65)."""
    end, stored = -1, 0
    for start, length in extents:
        aligned = number(start, 0, size) % 512 == 0 and (number(length, 1, size) % 512 == 0 or start + length == size)
        need(aligned and end < start and start + length <= size, "the extents of a sparse file are none (rule 37)")
        end, stored = start + length, stored + length
    need(stored < size, "a file without holes has extents (rule 65)")


def read_xattrs(pairs):
    xattrs = [(name(n, 6, 255), name(v, 0, 64 * KIB)) for n, v in pairs]
    names = [n for n, _ in xattrs]
    need(0 < len(names) <= 1 << 14 and names == sorted(set(names)), "the names of extended attributes are not in order (rule 66)")
    need(all(n.startswith(b"user.") and b"\0" not in n for n in names), "an extended attribute grants rights (rule 48)")
    return xattrs


def has_none_of(line, *names):
    """What lines of other kinds are known by (rule 67)."""
    need(not line.keys() & set(names), "a line of the inventory has a field of another kind of line (rule 67)")


def read_entry(line):
    has_none_of(line, "inventory", "segment")
    kind, size, extents, blake3, target = line["kind"], 0, None, None, b""
    own = line.keys() & {"size", "extents", "blake3", "target"}
    if kind == "file":
        need(own | {"extents"} == {"size", "extents", "blake3"}, "a file has fields of another kind (rule 67)")
        size, extents, blake3 = number(line["size"], 0, 1 << 56), line.get("extents"), line["blake3"]
        need(re.match("[0-9a-f]{64}\\Z", blake3), "a file has no hash")
        if "extents" in line:
            read_extents(extents, size)
    elif kind != "dir":
        need(kind in ("symlink", "hardlink") and own == {"target"}, "an entry has fields of another kind (rule 67)")
        need("xattrs" not in line and (kind != "symlink" or line["mode"] == 0o777), "a link says what its file does not (rule 68)")
        target = name(line["target"], 1, 4095)
    else:
        need(not own, "a directory has fields of another kind (rule 67)")
    xattrs = read_xattrs(line["xattrs"]) if "xattrs" in line else []
    seconds, nanoseconds = line["mtime"]
    mtime = number(seconds, -(1 << 63), (1 << 63) - 1) * 10**9 + number(nanoseconds, 0, 10**9 - 1)
    path, mode = name(line["path"], 0, 4095), number(line["mode"], 0, 0o7777)
    return Entry(path, kind, size, extents, blake3, target, mode, mtime, xattrs, line["offset"])


def read_inventory(part, secret, first):
    """The head; the entries, which in the last part have all hashes; of each frame of the part its group, volume, offset, length."""
    m, packed = part.manifest, decrypt(secret, listed(part, "inventory.age", 4 << 30))
    need(packed, "the inventory cannot be opened with the set's own identity")
    check_frames(packed, 128 * MIB, False)
    lines = run(["zstd", "-dc"], packed, 2 << 30)
    need(lines, "the inventory cannot be decompressed, or is too long")
    lines = iter(io.BytesIO(lines))
    head = parse(next(lines, b""))
    require(head["inventory"], "recover.py beside it")
    require_none(head["critical"])
    has_none_of(head, "kind", "path", "segment")
    need((head["set"], head["part"]) == (m["set"], m["part"]), "the inventory is that of another set or part (rule 34)")
    need(not part.signer or part.signer[1] == head["signer"], "the inventory names another signer (rule 34)")
    count = -(-number(head["tar_bytes"], KIB, 1 << 56) // m["segment_bytes"])
    last = first + number(head["segments"], 1, count)
    need(head["first"] == first and (last == count) == m["last"], "the inventory does not name every segment (rule 36)")
    entries, frames = [], array.array("Q")
    for _ in range(number(head["entries"], 0, 1 << 22)):
        line = next(lines, b"")
        if m["last"]:
            entries.append(read_entry(parse(line)))
    for n in range(first, last):
        segment = parse(next(lines, b""))
        has_none_of(segment, "inventory", "kind", "path")
        need(segment["segment"] == n, "segment %d is missing" % n)
        size = number(segment["bytes"], FRAME + 1, m["segment_bytes"] + 64 * KIB)
        frames.extend((segment["group"], segment["volume"], segment["offset"], size))
    need(next(lines, None) is None, "the inventory has more lines than its head promises (rule 35)")
    return head, entries, frames


def check_paths(entries, staging, keep_links):
    """Nothing may be placed outside of the target, or through a link (rules 38 to 43 and 68)."""
    kinds, files, links, work = {}, {}, {}, 0

    def refuse(bad, path, why):
        need(not bad, "the set holds the path %s, which is refused: %s" % (show(path), why))

    for i, e in enumerate(entries):
        top, (parent, slash, _) = e.path.partition(b"/")[0], e.path.rpartition(b"/")
        bad = BAD_PATH.search(e.path) and (e.path or i or e.kind != "dir")
        refuse(bad, e.path, "a component is empty, . or .., too long, or has a NUL")
        refuse(top.startswith(staging) and top.endswith(b".partial"), e.path, "the name is reserved for ckvault itself")
        refuse(slash and kinds.get(parent) != "dir", e.path, "its parent is not a directory of the set")
        refuse(e.path in kinds, e.path, "it stands in the set twice")
        refuse(e.kind == "hardlink" and kinds.get(e.target) != "file", e.path, "it is a hard link to what is no file of the set before it")
        refuse(e.kind == "symlink" and b"\0" in e.target, e.path, "its target has a NUL")
        refuse(e.kind == "hardlink" and files.get(e.target) != (e.mode, e.mtime), e.path, "it is a hard link with another mode or time than its file")
        if e.kind == "symlink":
            links[e.path] = e.target
        if e.kind == "file":
            files[e.path] = (e.mode, e.mtime)
        kinds[e.path] = e.kind
    for path in [] if keep_links else links:
        leaves, more = follow(path, links)
        work += more
        need(work <= 1 << 27, "the links of the set take too long to follow")
        if leaves:
            die(1, "%s is a link that leaves the target (to %s)" % (show(path), show(links[path])), "--links keep if you trust it")


def follow(path, links):
    """Whether a link leads out of the set, and how much work that was to see (rule 43)."""
    at, _, last = path.rpartition(b"/")
    ahead, hops, steps, work = [last], 0, 0, 0
    while ahead:
        component = ahead.pop()
        steps, work = steps + 1, work + 1 + len(at) // 64
        if component == b".." and not at or steps > 4096:
            return True, work
        if component in (b"", b"."):
            continue
        if component == b"..":
            at = at.rpartition(b"/")[0]
            continue
        at = at + b"/" + component if at else component
        target = links.get(at)
        if target is not None:
            hops += 1
            if hops > 40:  # a loop leads nowhere, so not out either
                break
            if target.startswith(b"/"):
                return True, work
            at = at.rpartition(b"/")[0]
            ahead += reversed(target.split(b"/"))
    return False, work


# The tar stream. What it must be follows from the inventory, and is compared byte by byte (rule 45).


def digits(value, width):
    return b"%0*o\0" % (width - 1, value) if value < 8 ** (width - 1) else b"\x80" + value.to_bytes(width - 1, "big")


def padded(data):
    return data + bytes(-len(data) % 512)


def record(path, kind, mode, size, mtime, link=b"", sparse=b""):
    left = path[:100].ljust(100, b"\0") + digits(mode, 8) + digits(0, 8) * 2 + digits(size, 12) + digits(mtime, 12)
    right = kind + link[:100].ljust(100, b"\0") + b"ustar  \0" + bytes(121) + sparse.ljust(126, b"\0")
    return left + digits(sum(left + right) + 8 * 32, 8) + right


def headers(e):
    out, path, stored, more = b"", (e.path or b".") + b"/" * (e.kind == "dir"), e.size, []
    for kind, text in ((b"K", e.target), (b"L", path)):
        if len(text) > 100:
            out += record(b"././@LongLink", kind, 0o644, len(text) + 1, 0) + padded(text + b"\0")
    kind, sparse = {"dir": b"5", "file": b"0", "symlink": b"2", "hardlink": b"1"}[e.kind], b""
    if e.extents is not None:
        kind, stored = b"S", sum(length for _, length in e.extents)
        ends = e.extents and sum(e.extents[-1]) == e.size
        pairs = [digits(start, 12) + digits(length, 12) for start, length in e.extents + ([] if ends else [[e.size, 0]])]
        more = [b"".join(pairs[at : at + 21]) for at in range(4, len(pairs), 21)]
        sparse = b"".join(pairs[:4]).ljust(96, b"\0") + (b"\1" if more else b"\0") + digits(e.size, 12)
    out += record(path, kind, e.mode, stored, max(0, e.mtime // 10**9), e.target, sparse)
    return out + b"".join(padded(text.ljust(504, b"\0") + (b"\1" if text is not more[-1] else b"\0")) for text in more)


class Stream:
    def __init__(self, segments):
        self.segments, self.segment, self.used, self.at = segments, b"", 0, 0

    def pieces(self, length):
        while length:
            if self.used == len(self.segment):
                self.segment, self.used = next(self.segments, b""), 0
                need(self.segment, "the tar stream ends too early")
            piece = self.segment[self.used : self.used + length]
            self.used, self.at, length = self.used + len(piece), self.at + len(piece), length - len(piece)
            yield piece

    def must_be(self, data, where):
        need(b"".join(self.pieces(len(data))) == data, "the tar stream is not what the inventory says at " + where)


# Volumes, frames and segments.


class Volume:
    """A data volume, opened once and read once from its beginning to its end: the bytes that are used are those that are hashed."""

    def __init__(self, part, group, v):
        self.name, self.signed = "g%05d-d%03d.ckv" % (group, v), part.manifest["groups"][group]["volumes"][v]
        here = filter(None, [open_file(place, self.name) for place in part.places])
        self.file = next((f for f in here if os.fstat(f.fileno()).st_size == self.signed["bytes"]), None)
        if not self.file:
            die(7, "%s of drive %d is in none of the directories given, or is cut" % (self.name, self.signed["drive"]), "name its directory; or " + DAMAGED)
        self.hashing = hasher()
        self.read(part.manifest["block_bytes"])

    def read(self, size):
        data = self.file.read(size)
        if self.hashing:
            self.hashing.stdin.write(data)
        return data

    def close(self):
        if self.file.read(1) or self.hashing and digest(self.hashing) != self.signed["blake3"]:
            die(7, self.name + " is not as it was signed", DAMAGED)
        self.file.close()


def segments(parts, frames, secret, tar_bytes):
    """All segments in order, opened. A group is closed, and so compared with what was signed, after its last one."""
    n = 0
    for part, frames_of_part in zip(parts, frames):
        m, group, volumes, fields = part.manifest, -1, [], iter(frames_of_part)
        for g, v, offset, size in zip(fields, fields, fields, fields):
            if g == group + 1:
                [volume.close() for volume in volumes]
                group, volumes = g, [Volume(part, g, i) for i in range(number(m["groups"][g]["k"], 1, 254))]
            need(g == group and volumes[v].file.tell() == offset, "segment %d does not lie where dealing puts it (rule 25)" % n)
            frame = volumes[v].read(size)
            header = b"ckvF" + (size - FRAME).to_bytes(4, "little") + n.to_bytes(8, "little")
            packed = decrypt(secret, frame[FRAME:]) if len(frame) == size and frame[:FRAME] == header else None
            if packed:
                need(len(packed) <= m["segment_bytes"] + 32 * KIB, "segment %d is sealed with more than it needs" % n)
                check_frames(packed, 8 * MIB, m["filter"] == "planes")
            plain = packed and run(["zstd", "-dc"], packed, m["segment_bytes"])
            if not plain:
                die(7, "segment %d in %s cannot be opened" % (n, volumes[v].name), DAMAGED)
            need(len(plain) == min(m["segment_bytes"], tar_bytes - n * m["segment_bytes"]), "segment %d has another length" % n)
            yield from_planes(packed, plain) if m["filter"] == "planes" else plain
            n += 1
        [volume.close() for volume in volumes]
        need(group == len(m["groups"]) - 1, "a group of volumes is not used")


def check_frames(packed, window, planes):
    """Nothing but frames of zstd, without a dictionary or a larger window, and no second filter header (rules 55 and 73)."""
    at = 0

    def skip(count):
        nonlocal at
        at += count
        need(at <= len(packed), "a zstd frame is cut short")

    def little(count):
        skip(count)
        return int.from_bytes(packed[at - count : at], "little")

    while at < len(packed):
        begun, magic = at, little(4)
        if magic >> 4 == 0x184D2A5:
            need(not planes or not begun or magic != int.from_bytes(FILTER, "little"), "a segment has a second filter header (rule 55)")
            skip(little(4))
            continue
        need(magic == 0xFD2FB528, "what is compressed is no zstd frame (rule 73)")
        descriptor = little(1)
        single = descriptor >> 5 & 1
        if not single:
            size = little(1)
            need((8 + (size & 7)) << (7 + (size >> 3)) <= window, "a zstd frame needs too large a window (rule 73)")
        need(little((0, 1, 2, 4)[descriptor & 3]) == 0, "a zstd frame needs a dictionary (rule 73)")
        skip((single, 2, 4, 8)[descriptor >> 6])
        last = 0
        while not last:
            block = little(3)
            last = block & 1
            skip(1 if block >> 1 & 3 == 1 else block >> 3)
        skip(descriptor & 4)


def from_planes(packed, planes):
    """A segment as it was: words of N bytes put together from planes, and turned right by a bit if they had been turned left."""
    if packed[:4] != FILTER:
        return planes
    out, at, end = [], 0, 8 + int.from_bytes(packed[4:8], "little")
    need(end in range(13, 8 + 5 * 256 + 1, 5) and end <= len(packed), "a filter header has another form (rule 54)")
    for r in range(8, end, 5):
        length, n = int.from_bytes(packed[r : r + 4], "little"), packed[r + 4] & 0x7F
        need(n in (1, 2, 4, 8) and packed[r + 4] != 0x81 and 0 < length <= len(planes) - at, "a filter header has another form (rule 54)")
        plane = length // n
        words = bytearray(plane * n)
        for k in range(n):
            words[k::n] = planes[at + k * plane : at + (k + 1) * plane]
        if packed[r + 4] & 0x80:
            word = int.from_bytes(words, "little")
            low = word & int.from_bytes((b"\1" + bytes(n - 1)) * plane, "little")
            words = ((word ^ low) >> 1 | low << 8 * n - 1).to_bytes(plane * n, "little")
        out += words, planes[at + plane * n : at + length]
        at += length
    need(at == len(planes), "a filter header does not cover its segment (rule 54)")
    return b"".join(out)


# Placing. The current directory is a new one of our own, and nothing is touched in it but what was placed there.


def place(entries, stream, tar_bytes):
    for e in entries:
        need(stream.at == e.offset, show(e.path) + " does not lie where the tar stream has it (rule 36)")
        stream.must_be(headers(e), show(e.path))
        if e.kind == "dir" and e.path:
            os.mkdir(e.path, 0o700)
        elif e.kind == "symlink":
            os.symlink(e.target, e.path)
        elif e.kind == "hardlink":
            os.link(e.target, e.path, follow_symlinks=False)
        elif e.kind == "file":
            place_file(e, stream)
    stream.must_be(bytes(1024), "its end")
    need(stream.at == tar_bytes and next(stream.segments, None) is None, "the tar stream does not end with its last entry")
    files = [e for e in entries if e.kind == "file" and e.extents is None] if "b3sum" in TOOLS else []
    for at in range(0, len(files), 100):
        some = files[at : at + 100]
        names = [b"./-" if e.path == b"-" else e.path for e in some]
        digests = (run([b"b3sum", b"--no-names", b"--"] + names, b"", 100 * KIB) or b"").decode().split()
        need(len(digests) == len(some), "b3sum cannot read what has been placed")
        for e, digest in zip(some, digests):
            need(digest == e.blake3, "the contents of %s are not what the inventory says (rule 46)" % show(e.path))


def place_file(e, stream):
    """Of a sparse file the hash is that of its extents: it is taken while they come. The others are hashed at the end."""
    extents, hashing = ([(0, e.size)], None) if e.extents is None else (e.extents, hasher())
    with os.fdopen(os.open(e.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        for start, length in extents:
            file.seek(start)
            for piece in stream.pieces(length):
                file.write(piece)
                if hashing:
                    hashing.stdin.write(piece)
        file.truncate(e.size)
    need(not hashing or digest(hashing) == e.blake3, "the contents of %s are not what the inventory says (rule 46)" % show(e.path))
    stream.must_be(bytes(-stream.at % 512), show(e.path))


def finish(e, mode):
    """Times, extended attributes, and the mode as far as the umask lets it. Returns how many attributes had no place."""
    if e.kind == "symlink":
        os.utime(e.path, ns=(e.mtime, e.mtime), follow_symlinks=False)
    if e.kind not in ("dir", "file"):
        return 0
    lost, fd = 0, os.open(e.path or b".", os.O_RDONLY | os.O_NOFOLLOW)
    for attribute, value in e.xattrs:
        try:
            os.setxattr(fd, attribute, value)
        except (OSError, AttributeError):
            lost += 1
    os.utime(fd, ns=(e.mtime, e.mtime))
    os.fchmod(fd, e.mode & mode)
    os.close(fd)
    return lost


def restore(args, to, mode):
    parts = read_parts(args)
    secret, frames, first = open_slot(parts, args), [], 0
    for part in parts:
        head, entries, frames_of_part = read_inventory(part, secret, first)
        frames.append(frames_of_part)
        first += head["segments"]
    check_paths(entries, b".ckvault-" + parts[0].manifest["set"][:8].encode(), args.links == "keep")
    os.mkdir("tree")
    os.chdir("tree")
    place(entries, Stream(segments(parts, frames, secret, head["tar_bytes"])), head["tar_bytes"])
    lost = sum(finish(e, mode) for e in reversed(entries) if e.path)
    name = os.path.basename(to)
    try:
        mode &= os.stat(name, dir_fd=args.above, follow_symlinks=False).st_mode  # what was there is not made more open
    except FileNotFoundError:
        pass
    os.sync()
    os.rename("tree", name, src_dir_fd=args.work, dst_dir_fd=args.above)
    if entries and not entries[0].path:
        lost += finish(entries[0], mode)
    else:
        os.chmod(".", mode)
    if lost:
        say("%d extended attributes were not restored: the file system does not take them" % lost)
    say("contents verified: all have the hashes that were signed" if "b3sum" in TOOLS else "contents NOT VERIFIED")
    say("restored %d entries to %s" % (len(entries), show(to)))


def attributes(path):
    try:
        return os.listxattr(path)
    except (OSError, AttributeError):
        return []


def target(to):
    """Where the files go: a directory that is not there yet, or is empty."""
    to = os.path.realpath(to)
    if os.path.lexists(to) and not (os.path.isdir(to) and not os.listdir(to)):
        die(2, show(to) + " is not an empty directory", "name one that does not exist yet")
    if os.path.isdir(to) and any(name.startswith("system.posix_acl_") for name in attributes(to)):
        die(2, show(to) + " has an access list, which would be lost", "name one that does not exist yet")
    if os.path.ismount(to):
        die(2, show(to) + " is a mount point, which nothing can be renamed to", "name a directory in it")
    os.makedirs(os.path.dirname(to), exist_ok=True)
    return to


def find_tools(args):
    """What there is to verify with; without it we go on only if the user says so."""
    os.environ["PATH"] = os.pathsep.join(d for d in os.get_exec_path() if os.path.isabs(d))
    TOOLS.update(tool for tool in ("age", "zstd", "ssh-keygen", "b3sum") if shutil.which(tool))
    for tool in sorted({"age", "zstd"} - TOOLS):
        die(1, tool + " is not on PATH", "install it")
    if args.signers and not os.path.isfile(args.signers):
        die(2, "there is no file " + show(args.signers), "give the list of those whom you trust")
    without = [] if args.signers else [(2, "signature NOT VERIFIED: --signers is not given", "give the list of those whom you trust")]
    if args.signers and "ssh-keygen" not in TOOLS:
        without.append((1, "signature NOT VERIFIED: ssh-keygen is not on PATH", "install OpenSSH 8.2 or later"))
        args.signers = None
    if "b3sum" not in TOOLS:
        without.append((1, "contents NOT VERIFIED: b3sum is not on PATH", "install it"))
    for code, what, hint in without:
        say(what) if args.unverified else die(code, what, hint + "; or --unverified, if it may be from anybody")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("setdir", nargs="+")
    args.add_argument("--signers")
    args.add_argument("--signer")
    args.add_argument("--revoked")
    args.add_argument("--identity", required=True)
    args.add_argument("--to", required=True)
    args.add_argument("--links", choices=["keep"])
    args.add_argument("--unverified", action="store_true")
    args = args.parse_args()
    find_tools(args)
    to = target(args.to)
    mode = 0o777 & ~os.umask(0o077)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    absolute = lambda path: path and os.path.abspath(path)
    args.setdir, args.identity = [absolute(path) for path in args.setdir], absolute(args.identity)
    args.signers, args.revoked = absolute(args.signers), absolute(args.revoked)
    # Whoever may rename beside DIR may put other directories in the place of ours: they are held, and not looked up again.
    args.above = os.open(os.path.dirname(to), os.O_RDONLY | os.O_DIRECTORY)
    os.fchdir(args.above)
    name = os.path.basename(tempfile.mkdtemp(prefix=".recover-", dir="."))
    args.work = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    made = os.fstat(args.work)
    if made.st_uid != os.geteuid() or stat.S_IMODE(made.st_mode) & 0o77 or os.listdir(args.work):
        die(1, "another directory has taken the place of " + show(name), "restore where nobody else may write")
    os.fchdir(args.work)
    try:
        restore(args, to, mode)
    finally:
        os.fchdir(args.work)
        for left in os.listdir("."):
            subprocess.run(["rm", "-rf", "--", "./" + left])
        os.fchdir(args.above)
        try:
            os.rmdir(name)
        except OSError:
            pass


try:
    main()
except KeyboardInterrupt:
    sys.exit(130)
except OSError as error:
    die(7, ascii(str(error)), "is there room, and are all drives still there?")
except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
    die(1, "the set breaks the format: %s %.200s" % (type(error).__name__, ascii(str(error))), "ask the sender what happened there")
