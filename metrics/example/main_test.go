package main

import (
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// The example as a person runs it: a client comes, the page shows it, the client goes, the list has it; SIGTERM ends it.
func TestTheExampleShowsWhoComesAndGoes(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "example")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out testkit.Output
	cmd := exec.Command(bin, "-addr", "127.0.0.1:0", "-metrics", "127.0.0.1:0")
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	var found []string
	testkit.Eventually(t, "the example listens", func() bool {
		found = regexp.MustCompile(`listening on (\S+); metrics on (http://\S+)/metrics`).FindStringSubmatch(out.String())
		return found != nil
	})
	shows := func(page, want string) func() bool {
		return func() bool {
			r, err := http.Get(found[2] + page)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			b, _ := io.ReadAll(r.Body)
			return strings.Contains(string(b), want)
		}
	}
	c, err := net.Dial("tcp", found[1])
	if err != nil {
		t.Fatal(err)
	}
	frame, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 1, UserID: "ann"})
	_, _ = c.Write(frame)
	_, _ = c.Read(make([]byte, 100)) // a connection that is closed with unread bytes is reset
	testkit.Eventually(t, "the user shows", shows("/metrics", "\nrollcall_users 1\n"))
	_ = c.Close()
	testkit.Eventually(t, "the session's end shows", shows("/closed", "ClientClosed, 1 messages in"))
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("the example ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the example does not end")
	}
}
