import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Who may import whom. The deployables never import each other; `shared/` imports none of them. */
const layering = {
  shared: ['gateway', 'sidecar', 'control-plane', 'scenarios', 'bench'],
  gateway: ['sidecar', 'control-plane', 'scenarios', 'bench'],
  sidecar: ['gateway', 'control-plane', 'scenarios', 'bench'],
  'control-plane': ['scenarios', 'bench'],
};

const time = 'Time comes from the Clock (shared/clock), so that tests can turn it by hand.';
const chance = 'Randomness is passed in, so that tests and scenarios can seed it.';

export default tseslint.config(
  { ignores: ['dist/', '.build-*/', 'reports/', 'node_modules/'] },
  js.configs.recommended,
  { files: ['**/*.mjs'], languageOptions: { globals: { process: 'readonly', fetch: 'readonly', console: 'readonly' } } },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: [{ from: 'package', package: 'node:test', name: ['test', 'describe', 'before', 'after'] }] }],
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false } }],
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      'no-control-regex': 'off',
      'no-restricted-syntax': [
        'error',
        { selector: "ExportNamedDeclaration[source.value=/.*/] > Literal[value='*']", message: 'Name what you export.' },
      ],
    },
  },
  {
    files: ['shared/**/*.ts', 'gateway/**/*.ts', 'sidecar/**/*.ts', 'control-plane/**/*.ts'],
    ignores: ['**/*.test.ts', 'shared/clock/**'],
    rules: {
      'no-restricted-globals': [
        'error',
        { name: 'setTimeout', message: time },
        { name: 'setInterval', message: time },
        { name: 'performance', message: time },
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: time },
        { object: 'Math', property: 'random', message: chance },
      ],
    },
  },
  ...Object.entries(layering).map(([room, forbidden]) => ({
    files: [`${room}/**/*.ts`],
    ignores: room === 'shared' ? [] : ['**/*.test.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: forbidden.map((other) => ({
            regex: `^(\\.\\./)+${other}/`,
            message: `${room}/ never imports ${other}/: the deployables stand alone, and what they share is in shared/.`,
          })),
        },
      ],
    },
  })),
  {
    files: ['shared/policy/*/**/*.ts'],
    ignores: ['**/*.test.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            { regex: '^(\\.\\./)+(gateway|sidecar|control-plane|scenarios|bench)/', message: 'shared/ imports no deployable.' },
            { regex: '^\\.\\./(?!\\.\\./)', message: 'A policy never imports a policy.' },
          ],
        },
      ],
    },
  },
);
