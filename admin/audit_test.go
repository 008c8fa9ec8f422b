package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall"
)

// Without Config.Audit the log has each act, before and after, and each refusal of one, with who asked and from where.
func TestTheAuditInTheLog(t *testing.T) {
	core, logged := observer.New(zapcore.InfoLevel)
	s := newStand(t, rollcall.Config{}, func(c *Config) { c.Audit, c.Logger = nil, zap.New(core) })
	s.logOn(t, "bob")
	post[kicked](t, s, "users/kick", map[string]any{"user": "bob", "text": "enough", "banSeconds": 60})
	s.may = View
	if got := s.ask(http.MethodPost, apiPrefix+"users/kick", `{"user":"bob"}`); got.status != http.StatusForbidden {
		t.Errorf("a kick of who may look is answered %d", got.status)
	}
	var got []string
	for _, e := range logged.All() {
		if f := e.ContextMap(); strings.HasPrefix(e.Message, "admin: ") {
			got = append(got, fmt.Sprint(e.Level, " ", f["stage"], " ", f["do"], " ", f["user"], " ", f["text"], " ", f["banFor"], " ", f["who"], " ", f["from"] != ""))
		}
	}
	want := []string{"info begun kick and ban bob enough 1m0s olga true", "info done kick and ban bob enough 1m0s olga true",
		"warn refused POST users/kick   0s olga true"}
	if !slices.Equal(got, want) {
		t.Errorf("the log has\n%q\nand not\n%q", got, want)
	}
}
