// Verify a server's chain by a CA bundle: go run verify.go BUNDLE CHAIN NAME.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"log"
	"os"
)

func main() {
	bundle, chain, roots, others := read(os.Args[1]), read(os.Args[2]), x509.NewCertPool(), x509.NewCertPool()
	for _, certificate := range bundle {
		roots.AddCert(certificate)
	}
	for _, certificate := range chain[1:] {
		others.AddCert(certificate)
	}
	options := x509.VerifyOptions{DNSName: os.Args[3], Roots: roots, Intermediates: others}
	if _, err := chain[0].Verify(options); err != nil {
		log.Fatal(err)
	}
}

func read(path string) (certificates []*x509.Certificate) {
	text, err := os.ReadFile(path)
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, problem := x509.ParseCertificate(block.Bytes)
		if problem != nil {
			log.Fatal(problem)
		}
		certificates = append(certificates, certificate)
	}
	if err != nil || certificates == nil {
		log.Fatal("no certificates: ", err)
	}
	return certificates
}
