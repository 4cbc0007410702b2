// Command client asks azidentity or adal for a token: client mi|dac|token-proxy|adal RESOURCE_OR_SCOPE [--twice].
// It prints one line of JSON.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/go-autorest/autorest/adal"
)

// ask returns a token and when it expires, in Unix seconds.
type ask func() (string, int64, error)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: client mi|dac|token-proxy|adal RESOURCE_OR_SCOPE [--twice]")
		os.Exit(2)
	}
	times := 1
	if slices.Contains(os.Args[3:], "--twice") {
		times = 2
	}
	line, err := run(os.Args[1], strings.TrimSuffix(os.Args[2], "/.default"), times)
	line["ok"] = err == nil
	if err != nil {
		line["error"] = fmt.Sprintf("%T: %v", err, err)
	}
	if json.NewEncoder(os.Stdout).Encode(line) != nil || err != nil {
		os.Exit(1)
	}
}

func run(mode, resource string, times int) (map[string]any, error) {
	line := map[string]any{}
	var seconds []float64
	start := time.Now()
	again, err := credential(mode, resource)
	for n := 0; n < times && err == nil; n++ {
		var token string
		var expiresOn int64
		token, expiresOn, err = again()
		seconds = append(seconds, time.Since(start).Seconds())
		start = time.Now()
		if err == nil {
			line, err = described(token, expiresOn)
		}
	}
	line["seconds"] = seconds
	return line, err
}

func credential(mode, resource string) (ask, error) {
	switch mode {
	case "mi":
		made, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: selector()})
		return asking(made, resource), err
	case "dac":
		// DefaultAzureCredential has no option for the identity: this variable is how it is told.
		if id := os.Getenv("WISP_CLIENT_ID"); id != "" {
			os.Setenv("AZURE_CLIENT_ID", id)
		}
		made, err := azidentity.NewDefaultAzureCredential(nil)
		return asking(made, resource), err
	case "token-proxy":
		made, err := azidentity.NewWorkloadIdentityCredential(
			&azidentity.WorkloadIdentityCredentialOptions{EnableAzureProxy: true})
		return asking(made, resource), err
	case "adal":
		options := &adal.ManagedIdentityOptions{
			ClientID: os.Getenv("WISP_CLIENT_ID"), IdentityResourceID: os.Getenv("WISP_RESOURCE_ID"),
		}
		made, err := adal.NewServicePrincipalTokenFromManagedIdentity(resource, options)
		if err != nil {
			return nil, err
		}
		return func() (string, int64, error) {
			err := made.EnsureFresh()
			token := made.Token()
			return token.AccessToken, token.Expires().Unix(), err
		}, nil
	}
	return nil, errors.New("there is no mode " + mode)
}

func selector() azidentity.ManagedIDKind {
	if id := os.Getenv("WISP_CLIENT_ID"); id != "" {
		return azidentity.ClientID(id)
	}
	if id := os.Getenv("WISP_OBJECT_ID"); id != "" {
		return azidentity.ObjectID(id)
	}
	if id := os.Getenv("WISP_RESOURCE_ID"); id != "" {
		return azidentity.ResourceID(id)
	}
	return nil
}

func asking(made azcore.TokenCredential, resource string) ask {
	return func() (string, int64, error) {
		options := policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}}
		token, err := made.GetToken(context.Background(), options)
		return token.Token, token.ExpiresOn.Unix(), err
	}
}

func described(token string, expiresOn int64) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return map[string]any{}, errors.New("the token is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	claims := map[string]any{}
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	return map[string]any{
		"expires_on":   expiresOn,
		"token_sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(token))),
		"appid":        claims["appid"], "oid": claims["oid"], "aud": claims["aud"],
	}, err
}
