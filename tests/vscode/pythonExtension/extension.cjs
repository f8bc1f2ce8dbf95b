// Takes the place of ms-python.python, which no registry here has: what our extension uses of it, and nothing else.
const path = require("node:path");
const vscode = require("vscode");

exports.activate = (context) => {
  const controller = vscode.tests.createTestController("python-tests", "Python Tests");
  const [folder] = vscode.workspace.workspaceFolders;
  const file = vscode.Uri.file(path.join(folder.uri.fsPath, "test_calc.py"));
  const test = controller.createTestItem("test_calc.py::test_add", "test_add", file);
  test.range = new vscode.Range(4, 0, 5, 0);
  controller.items.add(test);
  const run = (request) => {
    const started = controller.createTestRun(request);
    // Two: what has one message only is listed without it.
    const messages = ["assert -1 == 5", "add(2, 3) is -1"].map((text) => new vscode.TestMessage(text));
    for (const message of messages) {
      message.location = new vscode.Location(file, new vscode.Position(4, 4));
    }
    started.failed(test, messages);
    started.end();
  };
  controller.createRunProfile("Run", vscode.TestRunProfileKind.Run, run, true);
  context.subscriptions.push(controller);
  const executable = { uri: vscode.Uri.file(process.env.OCI_E2E_PYTHON) };
  return {
    environments: {
      getActiveEnvironmentPath: () => ({ path: executable.uri.fsPath }),
      resolveEnvironment: () => Promise.resolve({ executable }),
      onDidChangeActiveEnvironmentPath: new vscode.EventEmitter().event,
    },
  };
};
