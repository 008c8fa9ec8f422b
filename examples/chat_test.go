package examples_test

import (
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/rollcall-go/rollcall/client"
)

// terminal is a chat client whose terminal the test has.
type terminal struct {
	*program
	in io.Writer
}

// open starts the chat program with a terminal.
func open(t *testing.T, bin string, args ...string) *terminal {
	t.Helper()
	cmd := exec.Command(bin, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &terminal{program: run(t, cmd), in: in}
}

// types enters a line.
func (p *terminal) types(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// shows waits until a line has the text.
func (p *terminal) shows(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the terminal shows "+text, func() bool { return strings.Contains(p.stdout.String(), text) })
}

// A server and clients, each a process of its own, driven through their terminals: direct messages, everyone, who is
// there by pages, devices, the second logon on one kind of device, kicks, and the stop of the server.
func TestChat(t *testing.T) {
	bin := build(t, "chat")
	server := open(t, bin, "server", "-listen", "127.0.0.1:0", "-page", "2", "-grace", "50ms")
	addr := server.address(t)
	client := func(user, device string) *terminal {
		p := open(t, bin, "client", "-server", addr, "-user", user, "-device", device)
		p.shows(t, "* you are "+user)
		return p
	}

	alice := client("alice", "desktop")
	bob := client("bob", "desktop")
	alice.shows(t, "* bob is online")
	bobsPhone := client("bob", "phone")

	alice.types(t, "@bob hello bob")
	bob.shows(t, "alice: hello bob")
	bobsPhone.shows(t, "alice: hello bob")
	bobsPhone.types(t, "@alice from my phone")
	alice.shows(t, "bob: from my phone")
	alice.types(t, "@carol hello carol")
	alice.shows(t, "! rollcall: UserOffline: carol is offline")

	carol := client("carol", "tablet")
	carol.types(t, "hello everyone")
	for _, p := range []*terminal{alice, bob, bobsPhone, carol} {
		p.shows(t, "carol to all: hello everyone")
	}

	alice.types(t, "/who")
	alice.shows(t, "* 3 online: ")
	alice.shows(t, "; /who for more")
	alice.types(t, "/who")
	eventually(t, "both pages of /who name everybody once", func() bool {
		names := ""
		for _, line := range alice.stdout.lines() {
			if _, list, ok := strings.Cut(line, " online: "); ok {
				names += " " + strings.TrimSuffix(list, "; /who for more")
			}
		}
		return len(strings.Fields(names)) == 3 && strings.Contains(names, "alice") && strings.Contains(names, "bob") && strings.Contains(names, "carol")
	})
	bob.types(t, "/devices")
	bob.shows(t, "* desktop from 127.0.0.1:")
	bob.shows(t, "* phone from 127.0.0.1:")

	bobAgain := client("bob", "desktop")
	bob.shows(t, "* pushed out: you logged on somewhere else on the same kind of device")
	bob.wait(t)
	bobAgain.types(t, "@alice still me")
	alice.shows(t, "bob: still me")

	carol.types(t, "/kick bob for spam")
	carol.shows(t, "* bob on phone: told")
	carol.shows(t, "* bob on desktop: told")
	for _, p := range []*terminal{bobAgain, bobsPhone} {
		p.shows(t, "* you are thrown out: for spam")
		p.shows(t, "KickedOut: for spam")
		p.wait(t)
	}
	alice.shows(t, "* bob is gone")
	carol.types(t, "/kick dave")
	carol.shows(t, "! rollcall: Refused: rollcall: no user or session with this ID is online")
	carol.types(t, "/dance")
	carol.shows(t, "! /dance? /help tells what you can do")
	carol.types(t, "/quit")
	carol.wait(t)
	alice.shows(t, "* carol is gone")

	server.end(t, syscall.SIGTERM)
	alice.shows(t, "* the connection is lost; trying again")
	alice.end(t, syscall.SIGINT)
}

// What a user sends cannot rewrite another's terminal: control characters, and those that turn the direction of writing, are
// shown, and everything else is as it was sent.
func TestChatShowsControlCharacters(t *testing.T) {
	bin := build(t, "chat")
	server := open(t, bin, "server", "-listen", "127.0.0.1:0")
	addr := server.address(t)
	enter := func(user string) *terminal {
		p := open(t, bin, "client", "-server", addr, "-user", user, "-device", "desktop")
		p.shows(t, "* you are "+user)
		return p
	}
	alice, bob := enter("alice"), enter("bob")
	alice.types(t, "@bob \x1b[2J\x07\u202eünder\u009b")
	bob.shows(t, `alice: \x1b[2J\a\u202eünder\u009b`)
	if said := bob.stdout.String(); strings.ContainsAny(said, "\x1b\x07\u202e\u009b") {
		t.Errorf("the terminal got %q", said)
	}

	mallory, err := client.Dial(t.Context(), addr, client.Config{UserID: "mallory"})
	if err != nil {
		t.Fatal(err)
	}
	defer mallory.Close()
	bob.shows(t, "* mallory is online")
	if err := mallory.SendTo("bob", 1, []byte("hi\nalice: I owe you nothing")); err != nil {
		t.Fatal(err)
	}
	bob.shows(t, `mallory to all: hi\nalice: I owe you nothing`)
}
