import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { parseAllDocuments, YAMLMap } from 'yaml';

// What Kubernetes' OpenAPI document says of a kind, as TypeScript has it: fields that are missing, unknown or of another type are
// errors of an object literal. Strings that take only some values are strings to it.
const root = fileURLToPath(new URL('../../../', import.meta.url));
const packages = { 'v1': 'core/v1', 'apps/v1': 'apps/v1', 'batch/v1': 'batch/v1', 'networking.k8s.io/v1': 'networking/v1', 'policy/v1': 'policy/v1' } as const;

interface Manifest {
  readonly apiVersion: keyof typeof packages;
  readonly kind: string;
}

/** What is wrong with each of `manifests`, a list of messages for all; empty: nothing. */
function problems(manifests: readonly Manifest[]): string[] {
  const name = `${root}tests/interception/manifests.ts`;
  const text = manifests.map((manifest, i) => `import type { ${manifest.kind} as Kind${i} } from 'kubernetes-types/${packages[manifest.apiVersion]}.js';\nexport const manifest${i}: Kind${i} = ${JSON.stringify(manifest, null, 1)};\n`).join('');
  const options: ts.CompilerOptions = { strict: true, noEmit: true, skipLibCheck: true, types: [], target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext };
  const host = ts.createCompilerHost(options);
  const served: ts.CompilerHost = {
    ...host,
    fileExists: (file) => file === name || host.fileExists(file),
    getSourceFile: (file, ...rest) => (file === name ? ts.createSourceFile(file, text, ts.ScriptTarget.ES2022) : host.getSourceFile(file, ...rest)),
  };
  return ts.getPreEmitDiagnostics(ts.createProgram([name], options, served)).map(({ messageText, start, file }) => {
    const line = file && start !== undefined ? text.split('\n')[file.getLineAndCharacterOfPosition(start).line]!.trim() : '';
    return `${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

/** The manifests in a file, `{ apiVersion, kind }` of each; duplicate keys are refused. */
function manifestsIn(text: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document) => {
    assert.deepEqual(document.errors, []);
    return document.contents instanceof YAMLMap && document.has('apiVersion') ? [document.toJS() as Manifest] : [];
  });
}

const files = readdirSync(`${root}deploy`, { recursive: true, encoding: 'utf8' }).filter((file) => /\.ya?ml$/.test(file)).map((file) => [file, readFileSync(`${root}deploy/${file}`, 'utf8')] as const).filter(([, text]) => /^kind:/m.test(text));
const manifest = files.find(([file]) => file === 'interception/kubernetes.yaml')![1];

describe('manifests for Kubernetes 1.30', () => {
  for (const [file, text] of files) {
    test(`deploy/${file} has what its kinds need, and no field that they do not know`, () => {
      const manifests = manifestsIn(text);
      assert.ok(manifests.length > 0);
      for (const { apiVersion, kind } of manifests) assert.ok(apiVersion in packages, `${kind}: ${apiVersion} is not looked up`);
      assert.deepEqual(problems(manifests), []);
    });
  }

  const broken: readonly (readonly [name: string, from: string, to: string, problem: RegExp])[] = [
    ['a field that is not known', 'periodSeconds: 1', 'periodSecond: 1', /periodSecond/],
    ['a field in the wrong place', 'terminationGracePeriodSeconds: ', 'volumeMounts: ', /volumeMounts/],
    ['a value of another type', 'value: "1337"', 'value: 1337', /'number' is not assignable to type 'string'/],
    ['a list where a value belongs', 'cpu: 10m', 'cpu: [10m]', /not assignable/],
    ['a needed field that is missing', 'containerPort: 15006', 'hostPort: 15006', /containerPort/],
    ['a kind that is not there', 'kind: Deployment', 'kind: Deploymint', /Deploymint/],
  ];
  for (const [name, from, to, problem] of broken) {
    test(`${name} is found`, () => {
      assert.ok(manifest.includes(from));
      assert.match(problems(manifestsIn(manifest.replace(from, to))).join('\n'), problem);
    });
  }

  test('the sidecar of the pod is a native one, after the rules are set', () => {
    interface Container { readonly name: string; readonly restartPolicy?: string; readonly startupProbe?: object }
    const deployment = manifestsIn(manifest).find(({ kind }) => kind === 'Deployment') as unknown as { spec: { template: { spec: { initContainers: Container[]; containers: Container[] } } } };
    const { initContainers, containers } = deployment.spec.template.spec;
    assert.deepEqual(initContainers.map(({ name, restartPolicy }) => [name, restartPolicy]), [['intercept', undefined], ['sidecar', 'Always']]);
    assert.ok(initContainers[1]!.startupProbe);
    assert.deepEqual(containers.map(({ restartPolicy }) => restartPolicy), [undefined]);
  });
});
