package doccheck

import (
	"strings"
	"testing"
)

// packageCodeUses is what follows the code in a package's comment, so that the compiler takes its variables for used.
var packageCodeUses = map[string]string{
	front: "_ = err", "engine": "_ = err", "bridge": "_ = err", "usermgr": "_, _ = wait, err", "push": "_, _ = result, err", "client": "_ = err",
}

// The code in a package's comment is the first that its users copy: it compiles.
func TestTheCodeInPackageCommentsCompiles(t *testing.T) {
	program := `package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

const chat = 1

func main() { show(nil, nil, nil, nil) }

func show(ctx context.Context, b *bridge.Bridge, check bridge.Authenticator, compute func([]byte) []byte) {
`
	for pkg, uses := range packageCodeUses {
		code := packageCode(t, pkg)
		if code == "" {
			t.Errorf("the comment of package %s shows no code", pkg)
			continue
		}
		program += "\t{ // " + pkg + "\n" + code + uses + "\n\t}\n"
	}
	compiles(t, program+"}\n")
}

// packageCode returns the first block of code in a package's comment.
func packageCode(t *testing.T, pkg string) (code string) {
	t.Helper()
	files, _ := parse(t, pkg)
	for _, f := range files {
		for line := range strings.Lines(f.Doc.Text()) {
			if strings.HasPrefix(line, "\t") {
				code += line
			} else if code != "" && line != "\n" {
				return code
			}
		}
	}
	return code
}
