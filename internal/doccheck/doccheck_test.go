// Package doccheck checks the documents against the code.
package doccheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// goBlocks returns the blocks of Go in a document.
func goBlocks(doc string) (blocks []string) {
	for {
		_, rest, ok := strings.Cut(doc, "```go\n")
		code, after, closed := strings.Cut(rest, "```")
		if !ok || !closed {
			return blocks
		}
		blocks, doc = append(blocks, code), after
	}
}

// compiles builds and vets a program.
func compiles(t *testing.T, code string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"build", "-o", os.DevNull, file}, {"vet", file}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", args[0], err, out)
		}
	}
}

func TestTheServerAndTheClientInTheReadmeCompile(t *testing.T) {
	blocks := goBlocks(read(t, "README.md"))
	if len(blocks) != 4 {
		t.Fatalf("README.md has %d blocks of Go, not a server, its handler, a client and a server in its parts", len(blocks))
	}
	lines, imports := strings.Count(blocks[0], "\n"), strings.Count(blocks[0], strings.TrimSuffix(module, "/"))
	if lines > 25 || imports != 1 || !strings.Contains(blocks[0], "Subscribe") {
		t.Errorf("the server has %d lines and %d imports of the module, or no events", lines, imports)
	}
	compiles(t, blocks[0])
	compiles(t, `package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/rollcall-go/rollcall"
)

const chat = 1

func main() { _ = serve(nil) }

func serve(srv *rollcall.Server) error {
`+blocks[1]+"}\n")
	compiles(t, `package main

import (
	"context"
	"log"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

const chat = 1

func main() { _ = talk(context.Background()) }

func talk(ctx context.Context) error {
`+blocks[2]+"}\n")
	compiles(t, `package main

import (
	"context"
	"errors"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/usermgr"
)

const chat = 1

func main() { _ = serve(context.Background(), usermgr.Events{}, nil) }

func serve(ctx context.Context, events usermgr.Events, handle func(*bridge.Bridge) engine.Handler) error {
`+blocks[3]+"}\n")
}

func TestTheReadmesCodesAreTheProtocols(t *testing.T) {
	cells := regexp.MustCompile(`\| (\d{4}) \| (\w+) `).FindAllStringSubmatch(read(t, "README.md"), -1)
	listed := make(map[string]string)
	for _, c := range cells {
		listed[c[1]] = c[2]
	}
	for _, class := range []protocol.CloseCode{1000, 2000, 5000} {
		for code := class; code < class+100; code++ {
			name := code.Error()
			number := strings.TrimPrefix(name, "code ")
			if number != name { // no code of ours
				if got, ok := listed[number]; ok {
					t.Errorf("the README names %s %s, which the protocol does not know", number, got)
				}
				continue
			}
			if got := listed[strconv.Itoa(int(code))]; got != name {
				t.Errorf("code %d is %s, in the README %q", code, name, got)
			}
		}
	}
}

func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(docs) == 0 {
		t.Fatalf("docs has %d documents: %v", len(docs), err)
	}
	for i := range docs {
		docs[i] = "docs/" + filepath.Base(docs[i])
	}
	for _, doc := range append(docs, "README.md", "CONTRIBUTING.md") {
		for _, m := range link.FindAllStringSubmatch(read(t, doc), -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
			}
		}
	}
}
