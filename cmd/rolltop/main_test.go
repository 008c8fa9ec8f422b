package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/admin"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// hostile is a user's ID with a mark that turns a terminal's text around.
const hostile = "bob\u202E\u200Bü\U000E0041"

// fleet is a cluster of two nodes, one of which does not answer.
type fleet struct{ admin.Cluster }

func (fleet) Stats() cluster.Stats                                                { return cluster.Stats{Nodes: 2, Acts: true} }
func (fleet) Count(context.Context) (a cluster.Answer[cluster.Counts], err error) { return a, nil }
func (fleet) Nodes(context.Context) (cluster.Answer[[]cluster.NodeInfo], error) {
	return cluster.Answer[[]cluster.NodeInfo]{Value: []cluster.NodeInfo{{Name: "gate-1", Users: 3, Sessions: 4, LeaseLeft: 15 * time.Second}}, Missing: []string{"gate-2" + "\u202E"}}, nil
}

// In a cluster the nodes are shown, and who did not answer.
func TestNodes(t *testing.T) {
	s := rollcalltest.NewServer(t, rollcall.Config{}, nil)
	a := testkit.Must(admin.New(admin.Config{Users: s.Users, Cluster: fleet{}, Authorize: func(*http.Request) (string, admin.Permission) { return "olga", admin.View }}))
	server := httptest.NewServer(a)
	defer server.Close()
	defer a.Close()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-url", server.URL, "-once"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nodes: gate-1 3 users, 4 sessions, lease 15s\n", "no answer from: gate-2\\u{202E}\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not show %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := run(t.Context(), []string{"-url", server.URL, "-once", "-json"}, &out); err != nil || !strings.Contains(out.String(), `"nodes":{"nodes":[{"name":"gate-1"`) {
		t.Errorf("%v: %s", err, out.String())
	}
}

// served returns the URL of a page of live users, and a file with its password.
func served(t *testing.T) (url, file string) {
	t.Helper()
	s := rollcalltest.NewServer(t, rollcall.Config{}, nil)
	s.Client(t, hostile, client.Config{})
	a := testkit.Must(admin.New(admin.Config{Users: s.Users, Engines: []admin.Engine{{Engine: s.Engine, Bridge: s.Bridge}},
		Authorize: admin.Basic("olga", "secret", admin.View)}))
	server := httptest.NewServer(http.StripPrefix("/admin", a))
	t.Cleanup(func() {
		_ = a.Close()
		server.Close()
	})
	file = filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL + "/admin", file
}

func TestOnce(t *testing.T) {
	url, file := served(t)
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-url", url, "-user", "olga", "-password-file", file, "-once", "-top", "age"}, &out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{"1 users, 1 sessions; 1 connections, 1 let in", "USER", "bob\\u{202E}\\u{200B}ü\\u{E0041}", "127.0.0.1:", "tcp"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not show %q:\n%s", want, text)
		}
	}
	wantPlain(t, text)
}

// wantPlain fails where a text has characters that are invisible or move the cursor.
func wantPlain(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("it writes %U: %q", r, text)
		}
	}
}

func TestOnceAsJSON(t *testing.T) {
	url, file := served(t)
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-url", url, "-user", "olga", "-password-file", file, "-once", "-json", "-top", "age"}, &out); err != nil {
		t.Fatal(err)
	}
	wantPlain(t, out.String())
	var v struct {
		Overview struct{ Users int }
		Sessions struct{ Sessions []struct{ User string } }
	}
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || v.Overview.Users != 1 || len(v.Sessions.Sessions) != 1 || v.Sessions.Sessions[0].User != hostile {
		t.Errorf("%v: %s", err, out.Bytes())
	}
}

func TestFailures(t *testing.T) {
	url, file := served(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for name, args := range map[string][]string{
		"401": {"-url", url}, "top must be": {"-url", url, "-user", "olga", "-password-file", file, "-top", "best"}, "404": {"-url", plain.URL},
		"no such file": {"-password-file", file + "x"}, "flag": {"-what"},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), append(args, "-once"), &out); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// lines counts what is written, until it is enough.
type lines struct {
	mu     sync.Mutex
	text   strings.Builder
	n      int
	enough func()
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	if l.n++; l.n == 3 {
		l.enough()
	}
	return len(b), nil
}

// It is drawn anew until it is told to end, also while the server is away.
func TestAgainAndAgain(t *testing.T) {
	url, file := served(t)
	for _, args := range [][]string{{"-url", url, "-user", "olga", "-password-file", file}, {"-url", "http://127.0.0.1:1"}} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &lines{enough: cancel}
		if err := run(ctx, append(args, "-every", "1ms"), out); err != nil {
			t.Error(err)
		}
		if n := strings.Count(out.text.String(), "\x1b[H\x1b[2J"); n != 3 {
			t.Errorf("it was drawn %d times: %q", n, out.text.String())
		}
	}
}
