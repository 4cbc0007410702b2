// Command client reads from a service at WISP_SERVICES by rclone, by HashiCorp's SDK for Azure, or with Prometheus'
// credentials for remote write: client rclone|azurerm|prometheus RESOURCE [--twice]. Each gets its token itself.
// It prints one line of JSON: what it read, which is the description of the token that it showed there.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/go-azure-sdk/sdk/auth"
	"github.com/hashicorp/go-azure-sdk/sdk/environments"
	"github.com/prometheus/prometheus/storage/remote/azuread"
	"github.com/rclone/rclone/backend/azureblob"
	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config/configmap"
)

// read returns what the service gives.
type read func(context.Context) ([]byte, error)

var (
	services = os.Getenv("WISP_SERVICES")
	clientID = os.Getenv("WISP_CLIENT_ID")
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: client rclone|azurerm|prometheus RESOURCE [--twice]")
		os.Exit(2)
	}
	times := 1
	if slices.Contains(os.Args[3:], "--twice") {
		times = 2
	}
	line, err := run(context.Background(), os.Args[1], times)
	line["ok"] = err == nil
	if err != nil {
		line["error"] = fmt.Sprintf("%T: %v", err, err)
	}
	if json.NewEncoder(os.Stdout).Encode(line) != nil || err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, mode string, times int) (map[string]any, error) {
	line := map[string]any{}
	var seconds []float64
	start := time.Now()
	again, err := program(ctx, mode)
	for n := 0; n < times && err == nil; n++ {
		var content []byte
		if content, err = again(ctx); err == nil {
			err = json.Unmarshal(content, &line)
		}
		seconds = append(seconds, time.Since(start).Seconds())
		start = time.Now()
	}
	line["seconds"] = seconds
	return line, err
}

func program(ctx context.Context, mode string) (read, error) {
	switch mode {
	case "rclone":
		return blob(ctx)
	case "azurerm":
		return manager(ctx)
	case "prometheus":
		return receiver()
	}
	return nil, errors.New("there is no mode " + mode)
}

// blob reads a blob by rclone's backend.
func blob(ctx context.Context) (read, error) {
	options := configmap.Simple{"account": "account", "endpoint": services + "/account", "use_msi": "true"}
	if clientID != "" {
		options["msi_client_id"] = clientID
	}
	info, err := fs.Find("azureblob")
	if err != nil {
		return nil, err
	}
	defaults := fs.ConfigMap("", info.Options, "", options)
	container, err := azureblob.NewFs(ctx, "", "container", defaults)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		object, err := container.NewObject(ctx, "token.json")
		if err != nil {
			return nil, err
		}
		content, err := object.Open(ctx)
		if err != nil {
			return nil, err
		}
		defer content.Close()
		return io.ReadAll(content)
	}, nil
}

// manager asks Azure Resource Manager as Terraform's provider azurerm does, which is told of an endpoint by its settings.
func manager(ctx context.Context) (read, error) {
	options := auth.ManagedIdentityAuthorizerOptions{Api: environments.AzurePublic().ResourceManager, ClientId: clientID}
	if endpoint := os.Getenv("IDENTITY_ENDPOINT"); endpoint != "" {
		options.CustomManagedIdentityEndpoint = endpoint
		options.CustomManagedIdentityAPIVersion = "2019-08-01"
		options.CustomManagedIdentityHeaders = map[string][]string{"X-IDENTITY-HEADER": {os.Getenv("IDENTITY_HEADER")}}
	}
	authorizer, err := auth.NewManagedIdentityAuthorizer(ctx, options)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, services+"/manage", http.NoBody)
		if err != nil {
			return nil, err
		}
		if err := auth.SetAuthHeader(ctx, request, authorizer); err != nil {
			return nil, err
		}
		return answer(http.DefaultClient.Do(request))
	}, nil
}

// receiver sends to Azure Monitor as Prometheus' remote write does.
func receiver() (read, error) {
	config := &azuread.AzureADConfig{ManagedIdentity: &azuread.ManagedIdentityConfig{ClientID: clientID}}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	transport, err := azuread.NewAzureADRoundTripper(config, http.DefaultTransport)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: transport}
	return func(ctx context.Context) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, services+"/receive", http.NoBody)
		if err != nil {
			return nil, err
		}
		return answer(client.Do(request))
	}, nil
}

func answer(response *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, content)
	}
	return content, err
}
