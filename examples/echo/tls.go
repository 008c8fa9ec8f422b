package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// tlsConfig returns the configuration of the flags -tls-cert, -tls-key and -tls-client-ca; nil if they are not set.
func tlsConfig(cert, key, clientCA string) (*tls.Config, error) {
	if cert == "" && key == "" && clientCA == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, errors.New("TLS needs both -tls-cert and -tls-key")
	}
	f := &certificateFiles{cert: cert, key: key}
	if _, err := f.get(nil); err != nil {
		return nil, err
	}
	cfg := &tls.Config{GetCertificate: f.get}
	if clientCA != "" {
		pem, err := os.ReadFile(clientCA)
		if err != nil {
			return nil, err
		}
		cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", clientCA)
		}
	}
	return cfg, nil
}

// certificateFiles is a certificate in two files, which may be replaced while the server runs.
type certificateFiles struct {
	cert, key string

	mu      sync.Mutex
	looked  time.Time
	changed time.Time // when the last good one was written
	current *tls.Certificate
}

// get is for tls.Config.GetCertificate. It checks the files at most once a second. While they are not valid, perhaps because
// they are being replaced, it returns the last valid certificate.
func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != nil && time.Since(f.looked) < time.Second {
		return f.current, nil
	}
	f.looked = time.Now()
	changed, err := f.modified()
	if err == nil && (f.current == nil || !changed.Equal(f.changed)) {
		var c tls.Certificate
		if c, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.current, f.changed = &c, changed
		}
	}
	if f.current != nil {
		return f.current, nil
	}
	return nil, err
}

// modified returns when the certificate or its key was written, the later of the two.
func (f *certificateFiles) modified() (latest time.Time, err error) {
	for _, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return latest, err
		}
		if t := info.ModTime(); t.After(latest) {
			latest = t
		}
	}
	return latest, nil
}
