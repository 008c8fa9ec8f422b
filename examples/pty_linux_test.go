package examples_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// pty returns the two ends of a pseudo terminal: a person's, and a program's.
func pty(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		testkit.LeaveOut(t, "there are no pseudo terminals: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 60}); err != nil {
		t.Fatal(err)
	}
	n := testkit.Must(unix.IoctlGetInt(fd, unix.TIOCGPTN))
	program = testkit.Must(os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0))
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// attach starts a client on a terminal of 60 columns.
func attach(t *testing.T, bin, addr, user string, env ...string) *terminal {
	t.Helper()
	person, slave := pty(t)
	cmd := exec.Command(bin, "client", "-server", addr, "-user", user)
	cmd.Stdin = slave
	cmd.Env = append(os.Environ(), append([]string{"TERM=xterm", "NO_COLOR="}, env...)...)
	p := &program{cmd: cmd, stdout: new(output), stderr: new(output), exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = slave, p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(p.stdout, person) }() // ends with the terminal
	go func() {
		defer close(p.exited)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("the terminal shows:\n%q\nand on standard error:\n%s", p.stdout, p.stderr)
		}
	})
	term := &terminal{p, person}
	term.shows(t, "you are ")
	return term
}

// press enters keys, without Enter.
func (p *terminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(p.in, keys); err != nil {
		t.Fatal(err)
	}
}

var coloured = regexp.MustCompile("\x1b\\[\\d+mbob\x1b\\[m")

// On a terminal lines come above the prompt, and what is half typed stays; what was sent goes from the prompt, and is shown when it is stored.
func TestChatOnATerminal(t *testing.T) {
	bin := build(t, "chat")
	server := open(t, bin, "server", "-addr", "127.0.0.1:0", "-strangers")
	addr := server.address(t)
	ann, bob := attach(t, bin, addr, "ann"), enter(t, bin, addr, "bob")
	ann.press(t, "@bob half a li")
	ann.shows(t, "@bob half a li")
	bob.types(t, "@ann are you there?")
	ann.shows(t, ": are you there?\r\n\x1b[m> @bob half a li")
	if !coloured.MatchString(ann.stdout.String()) {
		t.Error("bob's name has no colour")
	}

	ann.press(t, "ne, and one that is longer than the terminal is wide\r")
	bob.shows(t, " ann: half a line, and one that is longer than the terminal is wide")
	ann.shows(t, "\x1b[2A\r\x1b[J") // 2 rows were typed
	ann.shows(t, ": half a line, and one")
	ann.press(t, "@bob\r")
	ann.shows(t, "@bob> ")
	ann.press(t, "\x1b[2J\x07hi\r")
	bob.shows(t, " ann: hi")
	bob.types(t, "@ann \x1b[2J\u202egone") // would clear ann's screen, and turn the line
	ann.shows(t, `: \x1b[2J\u202egone`)
	if shown := ann.stdout.String(); strings.Contains(shown, "\x1b[2J") || strings.Contains(shown, "\u202e") {
		t.Errorf("the terminal got %q", shown)
	}
	ann.press(t, "/history\r")
	ann.shows(t, "* @bob, messages 1 to 4\r\n")
	ann.shows(t, "* that is where it begins\r\n\x1b[m@bob> ") // above the prompt

	ann.press(t, "\x03") // Ctrl-C
	ann.wait(t)
	if end := "\r\x1b[K"; !strings.HasSuffix(ann.stdout.String(), end) {
		eventually(t, "the prompt is gone", func() bool { return strings.HasSuffix(ann.stdout.String(), end) })
	}

	carol := attach(t, bin, addr, "carol", "NO_COLOR=1")
	bob.types(t, "@carol hello")
	carol.shows(t, " bob: hello")
	carol.press(t, "\x04") // Ctrl-D
	carol.wait(t)
}

// The terminal is as it was when the program has ended: it echoes what is typed, and ends lines by itself.
func TestChatGivesTheTerminalBack(t *testing.T) {
	bin := build(t, "chat")
	server := open(t, bin, "server", "-addr", "127.0.0.1:0")
	ann := attach(t, bin, server.address(t), "ann")
	fd := int(ann.cmd.Stdin.(*os.File).Fd())
	if s := testkit.Must(unix.IoctlGetTermios(fd, unix.TCGETS)); s.Lflag&unix.ECHO != 0 {
		t.Error("the terminal echoes what is typed, beside the program")
	}
	ann.end(t, syscall.SIGTERM)
	if s := testkit.Must(unix.IoctlGetTermios(fd, unix.TCGETS)); s.Lflag&unix.ECHO == 0 || s.Oflag&unix.OPOST == 0 {
		t.Errorf("the terminal is left as %+v", s)
	}
}
