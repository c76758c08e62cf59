package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/enrol"
)

// podFiles is where Kubernetes gives a pod its token and the CA.
const podFiles = "/var/run/secrets/kubernetes.io/serviceaccount"

// newReviewer is how service account tokens are checked; nil: none is taken. It reads the
// files that the settings name.
func newReviewer(k config.Kubernetes, getenv func(string) string) (enrol.TokenReviewer, error) {
	var reviewer enrol.TokenReviewer
	var err error
	switch k.Check {
	case config.Keys:
		reviewer, err = enrol.NewKeyFileReviewer(k.JWKSFile, k.Issuer, k.Audience, time.Now)
	case config.Review:
		at := enrol.APIServer{URL: k.Server, TokenFile: k.TokenFile, Roots: k.CAFile}
		if k.Server == "" {
			host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
			if host == "" || port == "" {
				return nil, errors.New("enrolment.kubernetes: this is no pod: set server, token_file and ca_file")
			}
			at = enrol.APIServer{
				URL: "https://" + net.JoinHostPort(host, port), TokenFile: filepath.Join(podFiles, "token"), Roots: filepath.Join(podFiles, "ca.crt"),
			}
		}
		reviewer, err = enrol.NewAPIReviewer(at, k.Audience)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("enrolment.kubernetes: %w", err)
	}
	return reviewer, nil
}
