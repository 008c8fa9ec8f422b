package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Limits that nothing fits into are named before a client comes.
func TestLimitsThatNothingFitsInto(t *testing.T) {
	for field, cfg := range map[string]engine.Config{
		"MaxOutbound": {Limits: engine.Limits{MaxOutbound: 10}}, "MaxFirstFrame": {Limits: engine.Limits{MaxFirstFrame: 16}},
	} {
		wantNoEngine(t, field, cfg)
	}
}

// An engine says where it listens, and that it knows no users when a client logs on.
func TestWhereItListensAndThatNoBridgeIsAttached(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	r := serve(t, newEngine(engine.Config{Logger: zap.New(core)}))
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: protocol.TypeHeartbeat}, protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "ann"})
	_ = p.read()
	listening := logs.FilterMessage("listening").All()
	if len(listening) != 1 || !strings.Contains(fmt.Sprint(listening[0].ContextMap()["addresses"]), r.addr) {
		t.Errorf("the log has %+v", listening)
	}
	if n := logs.FilterMessageSnippet("no bridge is attached").Len(); n != 1 {
		t.Errorf("%d lines tell that no bridge is attached", n)
	}
}
