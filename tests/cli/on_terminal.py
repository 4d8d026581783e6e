"""Runs a command on a terminal of its own. `on_terminal.py COLUMNS STEPS COMMAND...`; STEPS is JSON, a list of ["wait", TEXT], ["send", TEXT]
and ["signal", NAME]. Prints JSON: what was shown, the exit code, and whether the terminal echoes what is typed at the end."""
import fcntl, json, os, pty, select, signal, struct, sys, termios

columns, steps, command = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
PATIENCE = 60
child, terminal = pty.fork()
if child == 0:
    # Whatever was ignored where the tests were started.
    [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execvp(command[0], command)
shown, seen = b"", 0


def more():
    global shown
    ready, _, _ = select.select([terminal], [], [], PATIENCE)
    try:
        new = os.read(terminal, 65536) if ready else b""
    except OSError:  # the other side is closed
        new = b""
    shown += new
    return new != b""


for kind, what in steps:
    if kind == "wait":
        while shown.find(what.encode(), seen) < 0 and more():
            pass
        seen = max(seen, shown.find(what.encode(), seen) + len(what.encode()))
    elif kind == "send":
        os.write(terminal, what.encode())
    elif kind == "signal":
        os.kill(child, getattr(signal, "SIG" + what))
while more():
    pass
echoes = bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
_, status = os.waitpid(child, 0)
code = os.waitstatus_to_exitcode(status)
print(json.dumps({"shown": shown.decode("latin-1"), "code": code, "echoes": echoes}))
