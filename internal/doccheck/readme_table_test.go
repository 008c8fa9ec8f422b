package doccheck

import (
	"regexp"
	"strings"
	"testing"
)

// tableProgram declares what the code in the README's table uses.
const tableProgram = `package main

import (
	"context"
	"crypto/tls"
	"iter"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

const chat, phone = 1, 2

var _ = []any{(*tls.Config)(nil), (*client.Client)(nil), time.Second, protocol.Refused}

func main() {}

func use(...any) {}

func show(ctx context.Context, srv *rollcall.Server, p *push.Service, c *engine.Conn, m *protocol.Message, body []byte, symbol string, conns iter.Seq[*engine.Conn], handler engine.Handler) {
`

// A cell of the README's table "to, write" that begins with a package's or a value's name is code: it compiles. Where it leaves
// something out (…), it cannot.
func TestTheCodeInTheReadmesTableCompiles(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "README.md"), "| to | write |")
	table, _, _ = strings.Cut(table, "\n\n")
	program, shown := tableProgram, 0
	for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(table, -1) {
		c := code[1]
		switch {
		case strings.Contains(c, "…"), !regexp.MustCompile(`^(srv|p|c|m|rollcall|usermgr|engine|bridge|client|push)\b[ .]`).MatchString(c):
			continue
		case strings.HasPrefix(c, "p := "):
			program += "\t{\n\t\t" + c + "\n\t\t_ = p\n\t}\n"
		case c == "engine.Config":
			program += "\tuse(" + c + "{})\n"
		case strings.HasPrefix(c, "m = "):
			program += "\t" + c + "\n"
		default:
			program += "\tuse(" + c + ")\n"
		}
		shown++
	}
	if shown < 18 {
		t.Errorf("only %d pieces of code were found in the table", shown)
	}
	compiles(t, program+"}\n")
}
