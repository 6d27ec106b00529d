// The cloud controller manager of Kubernetes, with the Azure provider that Kubernetes carried itself.
package main

import (
	"os"

	"k8s.io/apimachinery/pkg/util/wait"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	"k8s.io/cloud-provider/options"
	"k8s.io/component-base/cli"
	cliflag "k8s.io/component-base/cli/flag"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	"k8s.io/klog/v2"
	_ "k8s.io/legacy-cloud-providers/azure"
)

func main() {
	told, err := options.NewCloudControllerManagerOptions()
	if err != nil {
		klog.Fatalf("options: %v", err)
	}
	command := app.NewCloudControllerManagerCommand(told, cloud, app.DefaultInitFuncConstructors,
		names.CCMControllerAliases(), cliflag.NamedFlagSets{}, wait.NeverStop)
	os.Exit(cli.Run(command))
}

func cloud(complete *config.CompletedConfig) cloudprovider.Interface {
	told := complete.ComponentConfig.KubeCloudShared.CloudProvider
	found, err := cloudprovider.InitCloudProvider(told.Name, told.CloudConfigFile)
	if err != nil {
		klog.Fatalf("the cloud %q could not be reached: %v", told.Name, err)
	}
	if found == nil {
		klog.Fatalf("there is no cloud provider %q", told.Name)
	}
	return found
}
