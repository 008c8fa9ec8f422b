package usermgr_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/rollcall-go/rollcall/usermgr"
)

// A session ID takes its session over, and a token is a credential: neither is printed, logged or in JSON.
func TestSessionInfoIsPrintedWithoutItsSecrets(t *testing.T) {
	i := usermgr.SessionInfo{UserID: "al\x1bice", ID: "secret-id", Token: "secret-token", Device: 3,
		Address: usermgr.Address{Remote: netip.MustParseAddrPort("192.0.2.1:4711"), Via: "tls"}}
	all := []any{i, &i, []usermgr.SessionInfo{i}, usermgr.UserData{UserID: "alice", Sessions: []usermgr.SessionInfo{i}},
		map[string]usermgr.SessionInfo{"a": i}}
	zaps := zapcore.NewJSONEncoder(zapcore.EncoderConfig{})
	for _, v := range all {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		line, err := zaps.EncodeEntry(zapcore.Entry{}, []zapcore.Field{zap.Any("session", v)})
		if err != nil {
			t.Fatal(err)
		}
		for _, printed := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), string(j), line.String()} {
			if strings.Contains(printed, "secret") {
				t.Errorf("%T is printed as %s", v, printed)
			}
		}
	}
	other := i
	other.ID = "another"
	if s := i.String(); !strings.Contains(s, "from 192.0.2.1:4711 by tls since") || strings.ContainsRune(s, 0x1b) || s == other.String() {
		t.Errorf("it is %q", s)
	}
}
