package examples_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"

	_ "github.com/rollcall-go/rollcall/presence" // so that go test sees when what the example is built of has changed
)

// Friends see one another come, change and go; strangers do not.
func TestFriendsSeeOneAnother(t *testing.T) {
	bin := build(t, "presence")
	server := run(t, exec.Command(bin, "-addr", "127.0.0.1:0"))
	addr := server.address(t)
	client := func(user string) (*program, io.Writer) {
		cmd := exec.Command(bin, "-addr", addr, "-user", user)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		return run(t, cmd), in
	}
	hears := func(p *program, line string) {
		t.Helper()
		eventually(t, "it is told: "+line, func() bool { return slices.Contains(p.stdout.lines(), line) })
	}
	ann, _ := client("ann")
	bob, says := client("bob")
	hears(ann, "bob is online")
	hears(bob, "ann is online")
	fmt.Fprintln(says, "busy")
	hears(ann, "bob is busy")
	fmt.Fprintln(says, "invisible")
	eventually(t, "bob is refused", func() bool { return len(bob.stdout.lines()) > 1 })
	carol, _ := client("carol")
	hears(carol, "ann is online")
	fmt.Fprintln(says, "stealth")
	hears(ann, "bob is offline")
	bob.end(t, os.Interrupt)
	carol.end(t, os.Interrupt)
	hears(ann, "carol is offline")
	for _, line := range slices.Concat(bob.stdout.lines(), carol.stdout.lines()) {
		if line == "bob is online" || line == "carol is online" {
			t.Errorf("a stranger is told: %s", line)
		}
	}
	ann.end(t, os.Interrupt)
	server.end(t, os.Interrupt)
}
