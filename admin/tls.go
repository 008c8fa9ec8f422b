package admin

import (
	"crypto/tls"

	"github.com/rollcall-go/rollcall/engine"
)

// tlsOf describes a connection's TLS; nil without.
func tlsOf(c *engine.Conn) *tlsView {
	s := c.TLS()
	if s == nil {
		return nil
	}
	v := &tlsView{Version: tls.VersionName(s.Version), Cipher: tls.CipherSuiteName(s.CipherSuite), Protocol: s.NegotiatedProtocol,
		ServerName: s.ServerName}
	if cert := c.PeerCertificate(); cert != nil {
		v.Certificate = cert.Subject.String()
	}
	return v
}
