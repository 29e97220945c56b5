import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { assertSameTree, compareTrees, readTree } from './tree.ts'

function sh(directory: string, script: string): void {
  execFileSync('sh', ['-ec', script], { cwd: directory })
}

const sample = `
  mkdir d; printf hello >d/f; ln d/f d/g; ln -s d/f s; mkfifo p; truncate -s 1M hole
  printf x >"$(printf 'caf\\351')"
  touch -h -d @-5.000000001 s; touch -d @1700000000.123456789 d/f hole p "$(printf 'caf\\351')" d .`

function twoTrees(change: string): string[] {
  const base = mkdtempSync(join(tmpdir(), 'windlass-tree-'))
  try {
    for (const name of ['a', 'b']) sh(base, `mkdir ${name}; cd ${name}; ${sample}`)
    sh(base, `cd a; ${change}`)
    return compareTrees(readTree(`${base}/a`), readTree(`${base}/b`))
  } finally {
    rmSync(base, { recursive: true, force: true })
  }
}

test('two trees made alike are equal, names that are not UTF-8 included', () => {
  assert.deepEqual(twoTrees(':'), [])
})

const changes: [string, string, RegExp][] = [
  ['a mode bit', 'chmod u+s hole', /^hole: mode is 4644, wanted 0644$/],
  ['an mtime by one nanosecond', 'touch -d @1700000000.123456788 d', /^d: mtime is 1700000000.123456788, wanted/],
  ['the mtime of a symlink', 'touch -h -d @-6 s', /^s: mtime is -6.000000000, wanted -5.000000001$/],
  [
    'a symlink target',
    'ln -sfn d/g s; touch -h -d @-5.000000001 s; touch -d @1700000000.123456789 .',
    /^s: target is d\/g, wanted d\/f$/,
  ],
  [
    'a hole that was filled',
    'head -c 1M /dev/zero >hole; touch -d @1700000000.123456789 hole',
    /^hole: sparse is false/,
  ],
  ['a name in raw bytes', 'rm caf*; touch -d @1700000000.123456789 .', /^caf\\xe9: missing, wanted a file$/],
  ['one more entry', 'mkfifo q; touch -d @1700000000.123456789 .', /^q: unexpected fifo$/],
]
for (const [what, change, wanted] of changes) {
  test(`a difference is told in one line: ${what}`, () => {
    const differences = twoTrees(change)
    assert.equal(differences.length, 1, differences.join('\n'))
    assert.match(differences[0] ?? '', wanted)
  })
}

test('contents and broken hard links are told', () => {
  const differences = twoTrees('rm d/g; printf hellO >d/g; touch -d @1700000000.123456789 d/g d')
  assert.deepEqual(
    differences.map(line => line.split(' is ')[0]),
    ['d/f: links', 'd/g: links', 'd/g: sha256'],
  )
})

test('owners, devices and extended attributes are told', () => {
  const change = `chown 3000000:7 hole; setfattr -n user.x -v 0x00ff hole; rm p; mknod p c 259 1048575
    touch -d @1700000000.123456789 . p`
  assert.deepEqual(twoTrees(change), [
    'hole: uid is 3000000, wanted 0',
    'hole: gid is 7, wanted 0',
    'hole: xattrs is user.x=00ff, wanted ',
    'p: type is char, wanted fifo',
    'p: device is 259:1048575, wanted undefined',
  ])
})

test('what may differ is left out, and the first differences are shown', () => {
  const base = mkdtempSync(join(tmpdir(), 'windlass-tree-'))
  try {
    sh(base, 'mkdir a b; cd a; for i in $(seq 30); do touch f$i; done; touch -d @0 . ../b')
    const [a, b] = [readTree(`${base}/a`), readTree(`${base}/b`)]
    assert.throws(() => assertSameTree(a, b), /differ in 30 facts:(\n {2}f\d+: unexpected file){20}\n {2}and 10 more$/)
    assertSameTree(a, b, { ignore: (path, fact) => path.startsWith('f') && fact === 'presence' })
  } finally {
    rmSync(base, { recursive: true, force: true })
  }
})
