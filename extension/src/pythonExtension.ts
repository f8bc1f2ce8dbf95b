import * as vscode from "vscode";

/** The part that is used here of what the Python extension (ms-python.python) offers to others. */
interface PythonApi {
  readonly environments: {
    getActiveEnvironmentPath(): { readonly path: string };
    resolveEnvironment(
      environment: { readonly path: string },
    ): Promise<{ readonly executable: { readonly uri?: vscode.Uri } } | undefined>;
    readonly onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
  };
}

/** Fills the Python extension's interpreter into our settings where the user has not set one for us. */
export async function withInterpreter(section: unknown): Promise<unknown> {
  if (typeof section !== "object" || !section || !("interpreter" in section) || section.interpreter !== "") {
    return section;
  }
  return { ...section, interpreter: (await selectedInterpreter()) ?? "" };
}

/** Returns the interpreter that the user has selected in the Python extension, if that is there. */
async function selectedInterpreter(): Promise<string | undefined> {
  const api = await pythonApi();
  return (await api?.environments.resolveEnvironment(api.environments.getActiveEnvironmentPath()))?.executable.uri?.fsPath;
}

/** Tells when the user selects another one. */
export async function onDidSelectInterpreter(listener: () => void): Promise<vscode.Disposable | undefined> {
  return (await pythonApi())?.environments.onDidChangeActiveEnvironmentPath(listener);
}

async function pythonApi(): Promise<PythonApi | undefined> {
  const extension = vscode.extensions.getExtension<PythonApi>("ms-python.python");
  // Its failure is its own to tell; to us it is as if it were not there.
  return extension?.activate().then(undefined, () => undefined);
}
