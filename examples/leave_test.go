package examples_test

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// SIGTERM, by which most systems stop a service, makes every example that serves tell its clients, and end well.
func TestSIGTERMTellsTheClients(t *testing.T) {
	for _, tc := range []struct {
		example string
		args    []string
		report  bool
	}{
		{"echo", []string{"-addr", "127.0.0.1:0", "-stop-window", "50ms"}, true},
		{"chat", []string{"server", "-addr", "127.0.0.1:0"}, true},
		{"quickstart", []string{"-listen", "localhost:0"}, false},
		{"customcodec", []string{"-addr", "127.0.0.1:0", "-meters", "127.0.0.1:0"}, false},
	} {
		t.Run(tc.example, func(t *testing.T) {
			p := start(t, tc.example, tc.args...)
			addr := ""
			if tc.example == "quickstart" {
				eventually(t, "the story is told", func() bool {
					_, rest, _ := strings.Cut(p.stdout.String(), "stays up on ")
					var ok bool
					addr, _, ok = strings.Cut(rest, ". ")
					return ok
				})
			} else {
				addr = p.address(t)
			}
			c := dial(t, addr)
			var told func() bool
			if tc.example == "customcodec" {
				_, _ = c.Write([]byte("I am zoe\n"))
				line := make([]byte, 100)
				_, _ = c.Read(line) // the welcome
				told = func() bool {
					n, _ := c.Read(line)
					return strings.HasPrefix(string(line[:n]), "! ServerStopping")
				}
			} else {
				c.send(t, protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "zoe"})
				c.receive(t)
				told = func() bool { return c.closeCode(t) == protocol.ServerStopping }
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if !told() {
				t.Error("the client was not told that the server stops")
			}
			_ = c.Close()
			p.wait(t)
			if report := "stopped: 1 told, 0 closed by their peers, 0 by force"; tc.report && !strings.Contains(p.stderr.String(), report) {
				t.Errorf("it does not say %q", report)
			}
		})
	}
}

// A person who leaves before the server has answered is not told of an error.
func TestAClientMayLeaveBeforeItIsLetIn(t *testing.T) {
	for _, tc := range []struct {
		example string
		args    []string
	}{
		{"chat", []string{"client", "-user", "ann", "-server"}},
		{"presence", []string{"-user", "ann", "-addr"}},
	} {
		t.Run(tc.example, func(t *testing.T) {
			silent := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))
			defer func() { _ = silent.Close() }()
			p := start(t, tc.example, append(tc.args, silent.Addr().String())...)
			c := testkit.Must(silent.Accept())
			defer func() { _ = c.Close() }()
			_, _ = c.Read(make([]byte, 1)) // its Logon has come
			p.end(t, syscall.SIGTERM)
			if said := p.stderr.String(); said != "" {
				t.Errorf("it says %q", said)
			}
		})
	}
}
