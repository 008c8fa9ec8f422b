//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

const root = "../../.." // of the repository

// newcomers builds examples/chat with the two lines of docs/chat.md that keep its messages in a file, as a module of its own.
func newcomers(t *testing.T) (bin string) {
	t.Helper()
	read := func(name string) string { return string(testkit.Must(os.ReadFile(filepath.Join(root, name)))) }
	_, lines, found := strings.Cut(read("docs/chat.md"), "With two lines it is a file.")
	parts := regexp.MustCompile("(?s)```go\n(import [^\n]*)\n\n(return [^\n]*)\n```").FindStringSubmatch(lines)
	if !found || parts == nil {
		t.Fatal("docs/chat.md does not have the two lines")
	}
	replace := func(text, old, new string) string {
		if strings.Count(text, old) != 1 {
			t.Fatalf("examples/chat/main.go has %q %d times", old, strings.Count(text, old))
		}
		return strings.Replace(text, old, new, 1)
	}
	folder := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range testkit.Must(filepath.Glob(filepath.Join(root, "examples/chat/*.go"))) {
		name := filepath.Base(file)
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text := read("examples/chat/" + name)
		if name == "main.go" {
			text = replace(text, "package main\n", "package main\n\n"+parts[1]+"\n")
			text = replace(text, "\treturn chat.NewMemory(), nil\n", "\t"+parts[2]+"\n")
		}
		write(name, text)
	}
	const module = "github.com/rollcall-go/rollcall"
	modules := "module example.com/newcomer\n\n" + regexp.MustCompile(`(?m)^go .*$`).FindString(read("go.mod")) + "\n"
	for _, path := range []string{"", "/chat/sqlstore"} {
		modules += fmt.Sprintf("require %s%s v0.0.0\nreplace %s%s => %s%s\n", module, path, module, path, testkit.Must(filepath.Abs(root)), path)
	}
	write("go.mod", modules)
	write("go.sum", read("go.sum")+read("chat/sqlstore/go.sum"))
	build := exec.Command("go", "build", "-mod=mod", "-o", "newcomer", ".")
	build.Dir, build.Env = folder, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(folder, "newcomer")
}

// terminal is a person's client.
type terminal struct {
	*program
	in io.Writer
}

// sit starts a client, and waits until it is let in.
func sit(t *testing.T, bin, addr, user string) *terminal {
	t.Helper()
	cmd := exec.Command(bin, "client", "-server", addr, "-user", user)
	in := testkit.Must(cmd.StdinPipe())
	p := &terminal{launch(t, cmd), in}
	p.shows(t, "* you are "+user+" on a ")
	return p
}

func (p *terminal) types(t *testing.T, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
}

func (p *terminal) shows(t *testing.T, text string) {
	t.Helper()
	testkit.Eventually(t, "the terminal shows "+text, func() bool { return strings.Contains(p.stdout.String(), text) })
}

// said returns the messages that a terminal has shown, without their times.
func (p *terminal) said() (lines []string) {
	for line := range strings.Lines(p.stdout.String()) {
		if _, message, is := strings.Cut(line, " #climbing "); is && !strings.HasPrefix(line, "* ") {
			lines = append(lines, message)
		}
	}
	return lines
}

// A7, rules P29, P33 and P45: the two lines of docs/chat.md make examples/chat keep its messages. While two people talk, a connection is lost, the
// server is ended and started again, and it is killed: each has seen every message once, in the same order.
func TestTheTwoLinesKeepWhatTwoPeopleSay(t *testing.T) {
	bin := newcomers(t)
	serve := func() (p *program, addr string) {
		cmd := exec.Command(bin, "server", "-addr", "127.0.0.1:0")
		cmd.Dir = filepath.Dir(bin) // where chat.db is
		p = launch(t, cmd)
		return p, p.address(t)
	}
	server, addr := serve()
	cables := []*testkit.Cable{testkit.NewCable(t, addr), testkit.NewCable(t, addr)}
	again := func() {
		server, addr = serve()
		for _, c := range cables {
			c.Lead(addr)
		}
	}
	ann, bob := sit(t, bin, cables[0].Addr(), "ann"), sit(t, bin, cables[1].Addr(), "bob")
	ann.types(t, "/room new climbing")
	ann.shows(t, "* climbing is your room, #1 here; others come in by /join ")
	_, id, _ := strings.Cut(ann.stdout.String(), "come in by /join ")
	id, _, _ = strings.Cut(id, ",")
	bob.types(t, "/join %s", id)
	bob.shows(t, "* you are in #climbing")
	const rounds = 24
	for i := range rounds {
		ann.types(t, "#climbing ann says %d.", i)
		bob.types(t, "#climbing bob says %d.", i)
		switch i {
		case rounds / 4:
			cables[0].Break()
		case rounds / 2:
			server.end(t)
			again()
		case rounds * 3 / 4:
			_ = server.cmd.Process.Kill()
			testkit.Receive(t, "the server's end", server.exited)
			again()
		}
	}
	for _, p := range []*terminal{ann, bob} {
		testkit.Eventually(t, "all is shown", func() bool { return len(p.said()) >= 2*rounds })
	}
	ann.types(t, "#climbing the end")
	for _, p := range []*terminal{ann, bob} {
		p.shows(t, "ann: the end")
	}
	hers, his := strings.Join(ann.said(), ""), strings.Join(bob.said(), "")
	if hers != his {
		t.Errorf("rule P29: ann has seen\n%s\nand bob\n%s", hers, his)
	}
	for _, who := range []string{"ann", "bob"} {
		rest := hers
		for i := range rounds {
			line := fmt.Sprintf("%s: %s says %d.\n", who, who, i)
			_, after, found := strings.Cut(rest, line)
			if !found || strings.Count(hers, line) != 1 {
				t.Fatalf("rule P29: %q is missing, twice, or not where it should be:\n%s", line, hers)
			}
			rest = after
		}
	}
	bob.types(t, "/quit")
	testkit.Receive(t, "bob goes", bob.exited)
	bob = sit(t, bin, cables[1].Addr(), "bob")
	bob.shows(t, "ann: the end") // what was there before
	bob.types(t, "/history #climbing")
	bob.shows(t, fmt.Sprintf("* #climbing, messages %d to %d", 2*rounds+1-19, 2*rounds+1))
}
