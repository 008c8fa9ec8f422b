package doccheck

import (
	"strings"
	"testing"
)

// guideProgram is what stands before the guide's pieces of code: names that they use.
const guideProgram = `package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	chat = 1 + iota
	order
	report
	position
)

func main() {}

func checkPassword(ctx context.Context, userID, password string) (bool, error) { return false, nil }
func moveTo(position []byte) error                                             { return nil }
func friends(a, b string) bool                                                 { return false }
func query(ctx context.Context, q string) ([]byte, error)                      { return nil, errors.ErrUnsupported }

`

// Functions stand in the program as they are, statements in a function of their own; where those end without a return they may
// declare cfg for what follows.
func TestTheGuidesCodeCompiles(t *testing.T) {
	blocks := goBlocks(read(t, "docs/guide.md"))
	if len(blocks) < 2 || !strings.HasPrefix(blocks[0], "package main\n") {
		t.Fatalf("docs/guide.md has %d blocks of Go, and does not begin with a server", len(blocks))
	}
	compiles(t, blocks[0])
	program := guideProgram
	for _, block := range blocks[1:] {
		if strings.HasPrefix(block, "func ") {
			program += block + "\n"
		}
	}
	program += "func run(ctx context.Context, srv *rollcall.Server) error {\n"
	end := "\treturn nil\n}\n"
	for _, block := range blocks[1:] {
		switch {
		case strings.HasPrefix(block, "func "):
		case strings.Contains(block, "\nreturn "):
			program += "\tif err := func() error {\n" + block + "\t}(); err != nil {\n\t\treturn err\n\t}\n"
		default:
			program += block
		}
	}
	compiles(t, program+end)
}
