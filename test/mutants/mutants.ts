/** Rows whose guard cannot be taken out here, and why. */
export const beyondReach: Readonly<Record<string, string>> = {
  'another image between check and pull': 'nothing is asked for by name a second time',
  '`urls` of a descriptor': 'there is no code that would ask there',
  'a filesystem that does not answer': 'its test needs more than the sandbox has; it failed before the guard was there',
  'a collection from outside': 'its test needs more than the sandbox has',
  'a program that is set-user-ID to one it has': 'the kernel maps the owners',
  '`trusted.*` and most of `security.*`': 'the kernel refuses them',
  'a layer that a stranger chooses':
    'its tests need an engine; what is decoded has the limits of any layer, which have mutants',
  'code in a foreign process': 'there is no code that would write any',
}

/** A guard taken out, and who must notice. */
export interface Mutant {
  /** How the row of a table in docs/threat-model.md begins that it belongs to. */
  readonly row: string
  readonly file: string
  /** What stands there, exactly once, and what takes its place. */
  readonly edits: readonly (readonly [string, string])[]
  readonly test: string
  /** Only the tests whose name it matches. */
  readonly name?: string
}

type Edit = readonly [string, string]

/** @param mutants the test may be followed by `#` and what the names of the tests match that are run: where the others need more than the sandbox has */
function guardsOf(
  row: string,
  mutants: readonly (readonly [file: string, test: string, ...edits: Edit[]])[],
): Mutant[] {
  return mutants.map(([file, which, ...edits]) => {
    const [test = '', name] = which.split('#')
    return { row, file, test, edits, ...(name !== undefined && { name }) }
  })
}

const chroot: Edit[] = [
  ["  chroot(cPath('.'))\n", ''],
  ["if (lstatat(AT_FDCWD, cPath('/'))?.ino !== fstat(root).ino) throw new Error('chroot did not take effect')", ''],
]
const advisories = (name: string): string => `test/advisories/${name}.test.ts`

const layer: Mutant[] = [
  ...guardsOf('names with `..`', [
    ['src/layer/wall.ts', advisories('names'), ...chroot],
    ['src/layer/names.ts', advisories('names'), ["if (component === '..') clean.pop()\n    else if", 'if']],
  ]),
  ...guardsOf('symlinks and hard links out of the root', [
    ['src/layer/wall.ts', advisories('symlink-parent'), ...chroot],
    [
      'src/layer/wall.ts',
      advisories('symlink-parent'),
      ["if (lstatat(AT_FDCWD, cPath('/'))?.ino !== fstat(root).ino)", 'if (true)'],
    ],
    [
      'src/layer/apply.ts',
      advisories('symlink-parent'),
      ['O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW', 'O.WRONLY | O.CREAT'],
    ],
    ['src/sys/libc.ts', advisories('symlink-parent'), ['uid, gid, AT_SYMLINK_NOFOLLOW)', 'uid, gid, 0)']],
    ['src/sys/libc.ts', advisories('symlink-parent'), ['path, times, AT_SYMLINK_NOFOLLOW)', 'path, times, 0)']],
    ['src/layer/wall.ts', advisories('suites'), ...chroot],
  ]),
  ...guardsOf('asynchronous calls, libraries, programs', [
    ['src/layer/wall.ts', 'src/layer/wall.test.ts', ['  removePrograms()\n', '']],
    ['src/layer/wall.ts', 'src/layer/wall.test.ts', ["  block(programs.ChildProcess.prototype, 'spawn')\n", '']],
    ['src/layer/wall.ts', 'src/layer/wall.test.ts', ['  closeLibraries(blocked)\n', '']],
    ['src/layer/wall.ts', 'test/faults/wall.test.ts', ['  unshare(CLONE_FS)\n', '']],
    ['src/layer/wall.ts', 'src/layer/wall.test.ts', ['  removeAsyncCalls()\n', '']],
    ['src/layer/wall.ts', 'src/layer/wall.test.ts', ['  removeLoaders()\n', '']],
    ['src/layer/wall.ts', 'src/layer/wall.test.ts', ['  registerHooks({ resolve: blocked, load: blocked })\n', '']],
    ['src/layer/wall.ts', 'src/layer/wall.test.ts', ['  unshare(CLONE_FS)\n', '']],
    [
      'src/codec/external/programs.ts',
      'src/codec/external/programs.test.ts',
      ["path.split(':').filter(isAbsolute)\n  const warnings", "path.split(':')\n  const warnings"],
    ],
    ['src/codec/external/programs.ts', 'src/codec/external/programs.test.ts', ['(mode & 0o002) !== 0', 'mode < 0']],
  ]),
  ...guardsOf('the root of a layer replaced', [
    [
      'src/layer/apply.ts',
      advisories('root-and-devices'),
      ["if (name === '') throw corrupt(", "if (name === '?') throw corrupt("],
    ],
  ]),
  ...guardsOf('whiteouts of `.`', [
    [
      'src/layer/names.ts',
      advisories('whiteout'),
      ["hidden === '' || hidden === '.' || hidden === '..'", "hidden === '?'"],
    ],
    ['src/layer/names.ts', advisories('whiteout'), [" || hidden === '..'", '']],
    ['src/layer/wall.ts', advisories('whiteout'), ...chroot],
  ]),
  ...guardsOf('`trusted.overlay.*`', [
    ['src/layer/metadata.ts', advisories('whiteout'), ["name.startsWith('trusted.overlay.') || ", '']],
    ['src/layer/metadata.ts', advisories('whiteout'), ["name.startsWith('user.overlay.') || ", '']],
    ['src/layer/apply.ts', advisories('whiteout'), ["entry.type === 'char' && major === 0 && minor === 0", 'false']],
    ['src/layer/apply.ts', advisories('whiteout'), ['=== S_IFDIR || isOverlayWhiteout(found)) {', '=== S_IFDIR) {']],
  ]),
  ...guardsOf('labels of security modules', [
    ['src/layer/metadata.ts', advisories('root-and-devices'), ['return !imageSecurity.has(name)', 'return false']],
    ['src/layer/metadata.ts', advisories('root-and-devices'), [" || name === 'system.nfs4_acl'", '']],
  ]),
  ...guardsOf('device numbers and owners', [
    [
      'src/layer/apply.ts',
      advisories('root-and-devices'),
      ['if (major < 0 || major > MAJOR_MAX || minor < 0 || minor > MINOR_MAX)', 'if (false)'],
    ],
    [
      'src/tar/reader.ts',
      advisories('root-and-devices'),
      ['if (entry.uid >= 0xffff_ffff || entry.gid >= 0xffff_ffff)', 'if (false)'],
    ],
    [
      'src/tar/reader.ts',
      advisories('root-and-devices'),
      ["if (entry.uid < 0 || entry.gid < 0) throw malformed('negative owner')", ''],
    ],
  ]),
  ...guardsOf('set-user-ID programs within reach', [
    [
      'src/places/store/layout.ts',
      'src/places/store/store.test.ts',
      ['  chmodSync(root, 0o700)\n', '  chmodSync(root, 0o755)\n'],
    ],
    [
      'src/places/store/layout.ts',
      'src/places/store/store.test.ts',
      ['makeDirectory(layout.overlay, 0o710)', 'makeDirectory(layout.overlay, 0o711)'],
    ],
  ]),
  ...guardsOf('entries that one reader sees', [
    [
      'src/tar/pax.ts',
      advisories('smuggling'),
      ['if (isDecisive(key) && !(records.get(key) ?? value).equals(value)) {', 'if (false) {'],
    ],
    ['src/tar/pax.ts', advisories('smuggling'), [' && bytes[end - 1] === NEWLINE', '']],
    [
      'src/tar/reader.ts',
      advisories('smuggling'),
      [
        'if (isDecisive(key)) throw malformed(`a global PAX header sets',
        'if (false) throw malformed(`a global PAX header sets',
      ],
    ],
    [
      'src/tar/reader.ts',
      advisories('smuggling'),
      ["if (extensions.pax !== undefined) throw malformed('two PAX", "if (false) throw malformed('two PAX"],
    ],
    ['src/tar/reader.ts', advisories('smuggling'), ['if (hasExtension(extensions))', 'if (false)']],
    [
      'src/tar/reader.ts',
      advisories('smuggling'),
      ["throw malformed('a block of zeros stands between entries')", 'return second'],
    ],
    ['src/tar/reader.ts', advisories('smuggling'), ['if (padding?.[0] !== 0)', 'if (false)']],
    [
      'src/tar/reader.ts',
      advisories('smuggling'),
      ["else if (key === 'size') entry.size = parsePaxNumber(key, value)", ''],
    ],
    [
      'src/tar/reader.ts',
      advisories('smuggling'),
      ['else entry.size = entry.fileSize = 0', 'else this.#expectContent(entry.size)'],
    ],
    ['src/tar/sparse.ts', advisories('smuggling'), ['if (total !== size)', 'if (false)']],
    [
      'src/tar/reader.ts',
      advisories('names'),
      [
        '    if (long !== undefined && value !== undefined',
        '    if (false && long !== undefined && value !== undefined',
      ],
    ],
    [
      'src/tar/reader.ts',
      advisories('names'),
      ["if (entry.name.includes('\\0')) throw malformed('a name holds a NUL')", ''],
    ],
  ]),
  ...guardsOf('negative and absurd numbers', [
    [
      'src/tar/numeric.ts',
      'src/tar/numeric.test.ts',
      ['if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER))', 'if (false)'],
    ],
    ['src/tar/numeric.ts', 'src/tar/numeric.test.ts', ['if (byte < 0x30 || byte > 0x37)', 'if (false)']],
    [
      'src/tar/pax.ts',
      advisories('smuggling'),
      ['if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(number)) throw', 'if (false) throw'],
    ],
    ['src/tar/reader.ts', 'src/tar/reader.test.ts', ["    if (entry.size < 0) throw malformed('negative size')\n", '']],
    ['src/tar/sparse.ts', 'src/tar/sparse.test.ts', ['piece.offset < end || piece.length < 0', 'false']],
    ['src/tar/sparse.ts', 'src/tar/sparse.test.ts', ['if (end > fileSize)', 'if (false)']],
  ]),
  ...guardsOf('floods', [
    ['src/tar/reader.ts', advisories('bombs'), ['if (this.#entries === this.#limits.entriesMax)', 'if (false)']],
    ['src/tar/reader.ts', advisories('bombs'), ['if (this.#length > this.#limits.lengthMax)', 'if (false)']],
    ['src/tar/reader.ts', advisories('bombs'), ['if (size > sizeMax)', 'if (false)']],
    ['src/tar/reader.ts', advisories('bombs'), ['count <= EXTENSIONS_MAX', 'true']],
    ['src/layer/apply.ts', advisories('bombs'), ['if (this.#tree.impliedMade > impliedMax)', 'if (false)']],
    [
      'src/tar/reader.ts',
      'src/tar/reader.test.ts',
      ['if (entry.name.length > nameMax || entry.linkName.length > nameMax)', 'if (false)'],
    ],
    ['src/layer/apply.ts', advisories('bombs'), ['if (this.#heldXattrs > HELD_XATTRS_MAX)', 'if (false)']],
    [
      'src/layer/unpack.ts',
      'src/layer/unpack-end.test.ts',
      ["if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') {", 'if (false) {'],
    ],
  ]),
  ...guardsOf('compression bombs', [
    [
      'src/codec/decompress.ts',
      'src/codec/decompress.test.ts',
      ['  if (bytesOut <= ratioFreeSize || bytesOut <= ratioMax * bytesIn) return\n', '  return\n'],
    ],
    [
      'src/codec/zlib-stream.ts',
      'src/codec/decompress.test.ts',
      ['const windowLogMax = 27', 'const windowLogMax = 31'],
    ],
    ['src/flow/verify.ts', 'src/flow/verify.test.ts', ['if (size !== undefined && bytes > size)', 'if (false)']],
  ]),
  ...guardsOf('names that cost time', [
    ['src/layer/walk-budget.ts', advisories('bombs'), ['if (this.#steps <= this.#stepsMax) return', 'return']],
    ['src/layer/apply.ts', advisories('bombs'), ['if (this.#tree.impliedBytes > impliedBytesMax)', 'if (false)']],
    [
      'src/layer/tree.ts',
      advisories('bombs'),
      ['this.#walks.timed([name], () => lstatat(AT_FDCWD, this.path(name)))', 'lstatat(AT_FDCWD, this.path(name))'],
    ],
    ['src/layer/implied.ts', 'src/layer/implied.test.ts', ['    this.#found.set(name, found)\n', '']],
  ]),
  ...guardsOf('`/etc/passwd` as a link', [
    ['src/copy/unpack.ts', advisories('user-files'), [" || !(await lstat(join(root, 'etc', name))).isFile()", '']],
    ['src/copy/unpack.ts', advisories('user-files'), ["!(await lstat(join(root, 'etc'))).isDirectory() || ", '']],
    ['src/copy/unpack.ts', advisories('user-files'), [' || stat.size > userFileSizeMax', '']],
  ]),
  ...guardsOf('labels and annotations that steer', [
    [
      'src/oci/runtime-spec.ts',
      'src/oci/runtime-spec.test.ts',
      [
        "    hostname: hostname ?? 'windlass',\n",
        "    hostname: hostname ?? 'windlass',\n    annotations: config.Labels,\n",
      ],
    ],
  ]),
  ...guardsOf('text that a terminal obeys', [
    ['src/cli/printable.ts', 'src/cli/printable.test.ts', [".replace(/[\\r\\n\\t]+/g, ' ').replace(unsafe, '')", '']],
    [
      'src/oci/quote.ts',
      'src/cli/printable.test.ts',
      [".replace(/[\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069]/g, '?')", ''],
    ],
    [
      'src/tar/entry.ts',
      'src/cli/printable.test.ts',
      [".replace(/[\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069]/g, '?')", ''],
    ],
  ]),
]

const documents: Mutant[] = [
  ...guardsOf('one document that is manifest and index', [
    ['src/oci/manifest.ts', 'src/oci/manifest.test.ts', ['if (isIndex && rivals.length > 0)', 'if (false)']],
    [
      'src/oci/manifest.ts',
      'src/oci/manifest.test.ts',
      ['if (first !== undefined && rival !== undefined)', 'if (false)'],
    ],
    ['src/oci/json.ts', 'src/oci/manifest.test.ts', ['if (wanted !== undefined && wanted !== key)', 'if (false)']],
    [
      'src/oci/manifest.ts',
      'src/oci/manifest.test.ts',
      ['checkKeyCase(descriptor, descriptorKeys, subject)', ''],
      ['checkKeyCase(platform, platformKeys, subject)', ''],
    ],
    [
      'src/oci/image-config.ts',
      'src/oci/image-config.test.ts',
      ['normalizeKeys(document, documentKeys, subject)', 'document'],
      ['normalizeKeys(rootfs, rootfsKeys,', 'normalizeKeys(rootfs, [],'],
      ['normalizeKeys(config, containerKeys,', 'normalizeKeys(config, [],'],
    ],
    ['src/oci/json.ts', 'src/oci/image-config.test.ts', ['if (other !== undefined) throw', 'if (false) throw']],
    ['src/oci/image-config.ts', 'src/oci/image-config.test.ts', ['checkUniqueKeys(text, subject)', '']],
    ['src/oci/json.ts', 'src/oci/manifest.test.ts', ['if (keys?.has(key)) throw', 'if (false) throw']],
  ]),
  ...guardsOf('digests that are paths', [
    ['src/oci/digest.ts', 'src/oci/manifest.test.ts', ['/^(sha256|sha512):([0-9a-f]+)$/', '/^(sha256|sha512):(.+)$/']],
    ['src/oci/digest.ts', 'src/oci/manifest.test.ts', ['match[2]?.length === hexLengths', 'true || hexLengths']],
  ]),
  ...guardsOf('archives that name', [
    ['src/places/archive/docker-source.ts', advisories('archives'), ['  await checkOwn(files, entry)\n', '']],
    [
      'src/places/archive/files.ts',
      advisories('archives'),
      ['return file?.startsWith(', 'return true || file?.startsWith('],
    ],
  ]),
  ...guardsOf('parts of an archive', [
    [
      'src/places/archive/checksums.ts',
      'test/e2e/disk.test.ts#a part that is missing',
      ['  throw damaged(`Cannot read archive', '  void damaged(`Cannot read archive'],
    ],
    [
      'src/places/archive/checksums.ts',
      'test/e2e/disk.test.ts#a checksum beside',
      ['  if (hex === wanted) return\n  // Not what', '  return\n  // Not what'],
    ],
  ]),
  ...guardsOf('an archive that names layers', [
    [
      'src/copy/load.ts',
      'test/e2e/disk.test.ts#a save since an archive',
      ['  if (first === undefined) return\n', '  if (first !== null) return\n'],
    ],
  ]),
  ...guardsOf('a fifo, device or directory', [
    [
      'src/places/archive/files.ts',
      advisories('archives'),
      ['return found.isFile() ? found.size : undefined', 'return found.size'],
    ],
  ]),
  ...guardsOf('an index that would fill', [
    ['src/copy/copy-image.ts', 'src/copy/copy-image.test.ts', ['plan.documentsRead <= documentsMax && ', '']],
    ['src/copy/copy-image.ts', 'src/copy/copy-image.test.ts', [' && plan.documentBytes <= documentBytesMax', '']],
  ]),
  ...guardsOf('parts or checksums of an archive', [
    [
      'src/places/archive/checksums.ts',
      'test/e2e/disk.test.ts#what is no file in place',
      [' | constants.O_NOFOLLOW', ''],
    ],
    [
      'src/places/archive/checksums.ts',
      'test/e2e/disk.test.ts#what is no file in place',
      ['  if ((await handle.stat()).isFile()) return handle\n', '  if (handle !== null) return handle\n'],
    ],
  ]),
  ...guardsOf('huge documents', [
    [
      'src/places/archive/layout-source.ts',
      'src/places/archive/layout-source.test.ts',
      ['if (this.#bytes <= listedBytesMax) return', 'return'],
    ],
    ['src/places/archive/files.ts', advisories('archives'), ['  if (size > sizeMax)', '  if (false)']],
    ['src/oci/json.ts', 'src/oci/manifest.test.ts', ['if (bytes.length > sizeMax) {', 'if (false) {']],
    ['src/oci/json.ts', 'src/oci/manifest.test.ts', ['if (value.length <= countMax) return value', 'return value']],
    ['src/copy/resolve.ts', 'src/copy/resolve.test.ts', ['if (documents.length > indexDepthMax)', 'if (false)']],
    ['src/copy/resolve.ts', 'src/copy/resolve.test.ts', ['if (search.documentsLeft-- === 0)', 'if (false)']],
    [
      'src/places/registry/body.ts',
      'src/places/registry/registry-scripted.test.ts',
      ['if (promised > sizeMax) throw', 'if (false) throw'],
      ['if (size > sizeMax) throw', 'if (false) throw'],
    ],
  ]),
  ...guardsOf('sizes that lie', [
    ['src/flow/verify.ts', 'src/flow/verify.test.ts', ['if (size !== undefined && bytes < size)', 'if (false)']],
    ['src/flow/verify.ts', 'src/flow/verify.test.ts', ['if (actual !== expected.digest)', 'if (false)']],
    [
      'src/places/store/blob-ingest.ts',
      'src/places/store/session.test.ts',
      ['if (this.size + chunk.length > size)', 'if (false)'],
    ],
    [
      'src/places/store/blob-ingest.ts',
      'src/places/store/session.test.ts',
      ['if (this.#written !== size)', 'if (false)'],
    ],
    [
      'src/places/store/session.ts',
      'src/places/store/session.test.ts',
      ['if (actual !== digest) throw', 'if (false) throw'],
    ],
  ]),
  ...guardsOf('another range', [
    [
      'src/places/registry/range.ts',
      'src/places/registry/registry-scripted.test.ts',
      ['if (response.status === 206 && !isRange', 'if (false && !isRange'],
    ],
    [
      'src/places/registry/range.ts',
      'src/places/registry/registry-scripted.test.ts',
      ['&& Number(match[1]) === offset', ''],
    ],
    [
      'src/places/registry/body.ts',
      'src/places/registry/registry-scripted.test.ts',
      ['if (position > range.end)', 'if (false)'],
    ],
  ]),
  ...guardsOf('a registry that says it has more', [
    [
      'src/places/registry/upload.ts',
      'test/faults/upload.test.ts#about the offset of a chunk',
      ['    if (stated > offset && stated <= end) return stated\n', '    if (stated > offset) return stated\n'],
    ],
    [
      'src/places/registry/upload.ts',
      'test/faults/upload.test.ts#about the digest of a blob',
      ['if (stated === undefined || stated === digest) return\n', 'if (stated !== digest) return\n'],
    ],
  ]),
  ...guardsOf('a name that resolves into this machine', [
    [
      'src/places/registry/connection.ts',
      'src/places/registry/connection.test.ts',
      ['  if (!options.plainHttp(secure.hostname) && !trust.isInsecure(secure)) return secure\n', ''],
    ],
  ]),
  ...guardsOf("passwords to a stranger's token service", [
    [
      'src/places/registry/realm.ts',
      'src/places/registry/realm.test.ts',
      ["realm.hostname) ? 'credentials' : 'anonymous'", "realm.hostname) ? 'credentials' : 'credentials'"],
    ],
    [
      'src/places/registry/realm.ts',
      'src/places/registry/realm.test.ts',
      ["if (sharedDomains.has(labels.slice(from).join('.'))) return undefined", ''],
    ],
    [
      'src/places/registry/realm.ts',
      'src/places/registry/realm.test.ts',
      ["if (!secure && (realm.protocol !== 'http:' || registry.protocol === 'https:')) return 'refused'", ''],
    ],
    [
      'src/places/registry/realm.ts',
      'test/fuzz/properties.test.ts',
      ["isLoopback(registry.hostname) ? 'credentials' : 'refused'", "'credentials'"],
    ],
  ]),
  ...guardsOf('credentials along a redirect', [
    [
      'src/places/registry/upload.ts',
      'src/places/registry/upload.test.ts',
      ['    checkHop(from, location, doing)\n', ''],
    ],
    [
      'src/places/registry/access.ts',
      'src/places/registry/registry-scripted.test.ts',
      ['if (request.url.origin !== access.origin) return send(request)', ''],
    ],
    [
      'src/places/registry/http.ts',
      'src/places/registry/http.test.ts',
      ["if (from.protocol === 'https:' && to.protocol === 'http:')", 'if (false)'],
    ],
    [
      'src/places/registry/http.ts',
      'src/places/registry/http.test.ts',
      ['if (isLoopback(to.hostname) && !isLoopback(from.hostname))', 'if (false)'],
    ],
  ]),
  ...guardsOf('a list whose next page', [
    [
      'src/places/registry/next-page.ts',
      'src/places/registry/referrers.test.ts',
      [' || url.origin !== response.url.origin', ''],
    ],
    [
      'src/places/registry/next-page.ts',
      'src/places/registry/tags.test.ts',
      [' || url.origin !== response.url.origin', ''],
    ],
  ]),
  ...guardsOf('silence, trickling', [
    [
      'src/places/registry/http.ts',
      'test/faults/network.test.ts#interim answers',
      ['setTimeout(() => late.abort(', 'setTimeout(() => void ('],
    ],
    [
      'src/places/registry/connection.ts',
      'src/places/registry/registry-scripted.test.ts',
      ['    headersTimeout: timeouts.headersMs,\n', ''],
      ['    bodyTimeout: timeouts.idleMs,\n', ''],
    ],
  ]),
  ...guardsOf('other users of the host', [
    [
      'src/places/loopback/registry.ts',
      'src/places/loopback/registry.test.ts',
      ['if (oldest === undefined) return void socket.destroy()', 'if (oldest !== socket) return void socket.destroy()'],
    ],
    [
      'src/places/loopback/registry.ts',
      'src/places/loopback/registry.test.ts',
      ['setTimeout(() => socket.destroy(), this.#patienceMs)', 'setTimeout(() => {}, 0)'],
    ],
    [
      'src/places/loopback/registry.ts',
      'src/places/loopback/registry.test.ts',
      ['if (path !== this.#path)', 'if (false)'],
    ],
    [
      'src/places/loopback/registry.ts',
      'src/places/loopback/registry.test.ts',
      ['    if (login === undefined) return true\n', '    if (login !== null) return true\n'],
    ],
    [
      'src/places/loopback/registry.ts',
      'src/places/loopback/registry.test.ts',
      ["if (request.method !== 'GET' && request.method !== 'HEAD')", 'if (false)'],
    ],
  ]),
  ...guardsOf('a directory that somebody changes', [
    [
      'src/layer/pack.ts',
      'src/layer/pack.test.ts',
      ['  if (place.equals(path)) return\n', '  if (place !== null) return\n'],
    ],
    ['src/layer/pack.ts', 'src/layer/pack.test.ts', ['  if (!stat.isFile() || stat.size !== size)', '  if (false)']],
    ['src/layer/pack.ts', 'src/layer/pack.test.ts', ['here: `/proc/self/fd/$', 'here: path.toString() ?? `$']],
    ['src/layer/pack.ts', 'src/layer/pack.test.ts', ['O.PATH | O.NOFOLLOW', 'O.PATH']],
  ]),
  ...guardsOf('a user who may rename things where root unpacks', [
    [
      'src/copy/target-directory.ts',
      'src/copy/target-directory.test.ts',
      ['return { handle, here:', 'return { handle, here: path, there:'],
    ],
    [
      'src/copy/target-directory.ts',
      'src/copy/unpack.test.ts',
      ["return (await mark.readFile('latin1')) === markOf(lock.fd)", 'return true'],
    ],
    ['src/copy/target-directory.ts', 'src/copy/unpack.test.ts', ['facts.nlink !== 1', 'false']],
    ['src/copy/target-directory.ts', 'src/copy/unpack.test.ts', ['!isOwn(mark.fd)', 'false']],
    [
      'src/copy/target-directory.ts',
      'src/copy/unpack.test.ts',
      ['if (!names.includes(markName)) return names.length === 0', 'if (!names.includes(markName)) return true'],
    ],
    [
      'src/copy/target-directory.ts',
      'src/copy/target-directory.test.ts',
      ['  fchmod(lock.fd, 0o700)\n  await writeFile', '  fchmod(lock.fd, 0o755)\n  await writeFile'],
    ],
  ]),
  ...guardsOf('names of files that a layer', [
    ['src/layer/pack.ts', 'src/layer/pack.test.ts', [".indexOf('.wh.') === 0", ".indexOf('.wh.') === -2"]],
  ]),
  ...guardsOf('a credential helper', [
    [
      'src/places/registry/credential-helper.ts',
      'src/places/registry/docker-credentials.test.ts',
      ['const helperBytesMax = 64 * 1024', 'const helperBytesMax = 2 ** 40'],
    ],
    [
      'src/places/registry/credential-helper.ts',
      'src/places/registry/docker-credentials.test.ts',
      ['if (!/^[\\w-]{1,64}$/.test(name))', 'if (false)'],
    ],
  ]),
]

const trust = 'src/copy/trust/check.test.ts'

const signatures: Mutant[] = [
  ...guardsOf('a signature by another key', [
    [
      'src/copy/trust/claim.ts',
      trust,
      ["if (typeof claim === 'string' || claim.digest === wanted.digest) return claim", 'return claim'],
    ],
    [
      'src/copy/trust/claim.ts',
      trust,
      ["keys.find(key => isBy(key, payload, Buffer.from(signature, 'base64')))", 'keys[0]'],
    ],
    ['src/copy/trust/claim.ts', trust, ['if (digests.includes(digestHex(wanted)))', 'if (digests.length > 0)']],
    ['src/copy/trust/claim.ts', trust, ["  if (material.content.$case !== 'publicKey') return", '  if (false) return']],
  ]),
  ...guardsOf('an attestation', [
    ['src/copy/trust/claim.ts', trust, ['if (predicate !== signPredicate)', 'if (false)']],
    ['src/copy/trust/claim.ts', trust, ['if (type !== simpleSigningType)', 'if (false)']],
    ['src/copy/trust/claim.ts', trust, ['if (type === undefined || !statementTypes.has(type))', 'if (false)']],
  ]),
  ...guardsOf('an image that is signed, under', [
    [
      'src/copy/trust/identity.ts',
      trust,
      ['if (repositoryName(reference) !== repositoryName(actual)) return false', ''],
    ],
    [
      'src/copy/trust/identity.ts',
      trust,
      ['byRepository || (!actual.isBare && reference.tag === actual.tag)', 'byRepository || actual !== null'],
    ],
    [
      'src/copy/trust/identity.ts',
      trust,
      ['  if (signed === undefined) return `', '  if (signed === undefined) return; `'],
    ],
    ['src/copy/trust/identity.ts', trust, ['/`)) return reference', '`)) return reference']],
  ]),
  ...guardsOf('an index that nobody signed', [
    [
      'src/copy/trust/check.ts',
      trust,
      [
        'const [{ descriptor, bytes }] = image.documents',
        'const { descriptor, bytes } = image.documents.at(-1) ?? image.documents[0]',
      ],
    ],
  ]),
  ...guardsOf('a signature that is damaged', [
    [
      'src/copy/trust/find-signatures.ts',
      trust,
      ["['DIGEST_MISMATCH', 'CORRUPT'].includes(error.code)) throw", "['NONE'].includes(error.code)) throw"],
    ],
    ['src/copy/trust/find-signatures.ts', trust, ['if (++tried > signaturesMax)', 'if (++tried < 0)']],
    ['src/copy/trust/find-signatures.ts', trust, ['of referrers.slice(0, referrersMax)', 'of referrers']],
    ['src/copy/trust/find-signatures.ts', trust, ['if (descriptor.size > sizeMax) return undefined', '']],
  ]),
  ...guardsOf('a place that hides the signature', [
    [
      'src/copy/trust/check.ts',
      trust,
      ['  throw noClaim(', '  void noClaim('],
      ['  if (failure !== undefined) throw failure\n', ''],
    ],
  ]),
  ...guardsOf('a list of referrers that lies', [
    [
      'src/places/registry/registry.ts',
      'src/places/registry/referrers.test.ts',
      ['      if (page === referrerPagesMax) throw', '      if (page < 0) throw'],
    ],
  ]),
  ...guardsOf('a policy with a slip', [
    ['src/copy/trust/policy.ts', trust, ['  if (other === undefined) return\n', '  if (other !== null) return\n']],
    ['src/copy/trust/policy.ts', trust, ['if (!knownTransports.has(transport))', 'if (false)']],
    [
      'src/copy/trust/policy.ts',
      trust,
      ["      if (transport === 'docker') for (const [scope] of scopes) checkScope(scope, path)\n", ''],
    ],
    ['src/copy/trust/policy.ts', trust, ['  if (given.length !== 1)', '  if (false)']],
    ['src/copy/trust/policy.ts', trust, ['  if (online !== undefined) return', '  if (false) return']],
    ['src/copy/trust/policy.ts', trust, ['  if (list.length === 0) throw', '  if (false) throw']],
    ['src/copy/trust/policy.ts', trust, ['    checkUniqueKeys(text, path)\n', '']],
  ]),
  ...guardsOf('an archive as the way around', [
    ['src/copy/trust/policy.ts', trust, ["const kind = isFile ? 'docker' : transport", 'const kind = transport']],
    ['src/copy/trust/policy.ts', trust, ['if (isFile && reference === undefined && all !== undefined)', 'if (false)']],
    [
      'src/copy/trust/check.ts',
      trust,
      ['descriptor.digest === digest) ? reference : bare', 'descriptor.digest !== null) ? reference : bare'],
    ],
  ]),
]

const durability: Mutant[] = [
  ...guardsOf('death between any two changes', [
    [
      'src/places/store/collect.ts',
      'src/places/store/session.test.ts',
      ['    if (signal.aborted) return\n', '    if (signal.aborted || id) return\n'],
    ],
    [
      'src/places/store/blob-ingest.ts',
      'src/places/store/session.test.ts',
      [
        '    await rename(path, layout.blob(digest))\n',
        '    database.transaction(() => database.insertBlob(digest, size))\n    await rename(path, layout.blob(digest))\n',
      ],
    ],
    [
      'src/places/store/layer-ingest.ts',
      'src/places/store/session.test.ts',
      [
        '    await rename(directory, layout.layer(cacheId))\n',
        '    database.transaction(() => database.insertLayer({ ...this.#layer, ...facts, cacheId, link }))\n    await rename(directory, layout.layer(cacheId))\n',
      ],
    ],
  ]),
  ...guardsOf('loss of power', [
    [
      'src/places/store/blob-ingest.ts',
      'test/faults/sync-order.test.ts',
      ['    await handle.sync().catch(', '    await Promise.resolve().catch('],
    ],
    [
      'src/places/store/blob-ingest.ts',
      'test/faults/sync-order.test.ts',
      ['    await syncDirectory(layout.blobDirectory(digest))\n', ''],
    ],
    [
      'src/places/store/layer-ingest.ts',
      'test/faults/sync-order.test.ts',
      ['    await Promise.all([syncDirectory(layout.overlay), syncDirectory(layout.links)])\n', ''],
    ],
    ['src/places/store/layer-ingest.ts', 'test/faults/sync-order.test.ts', ['  await handle.sync()\n', '']],
    ['src/places/store/layer-ingest.ts', 'test/faults/sync-order.test.ts', ['      await this.#disk.sync()\n', '']],
    [
      'src/places/store/database.ts',
      'test/faults/sync-order.test.ts',
      ['      await promisify(fdatasync)(this.#wal)\n', ''],
    ],
  ]),
  ...guardsOf('writes that are lost', [
    [
      'src/sys/disk.ts',
      'src/sys/disk.test.ts',
      [
        '        this.#failed = Promise.reject(error)\n        this.#failed.catch(() => {})\n        return this.#failed\n',
        '        return Promise.reject(error)\n',
      ],
    ],
  ]),
  ...guardsOf('writes that are lost', [
    ['src/sys/disk.ts', 'src/sys/disk.test.ts', ['    this.#current = this.#open()\n', '']],
    [
      'src/places/store/blob-ingest.ts',
      'src/places/store/session.test.ts',
      ['      this.#written = 0\n      throw', '      throw'],
    ],
  ]),
  ...guardsOf('a write that was given up', [
    [
      'src/places/store/blob-ingest.ts',
      'src/places/store/session.test.ts',
      ['const done = this.#turnBefore.then(work)', 'const done = work()'],
    ],
    ['src/copy/blob-stream.ts', 'src/copy/blob-stream.test.ts', ['          signal.throwIfAborted()\n', '']],
  ]),
  ...guardsOf('an old loss', [
    [
      'src/copy/pull-layer.ts',
      'test/faults/failing.test.ts#EIO to every change|EROFS from some',
      ['if (this.#isLost && ', 'if (false && '],
    ],
  ]),
  ...guardsOf('a full disk', [
    [
      'src/places/store/reserve.ts',
      'src/places/store/filesystem.test.ts',
      ['  for (const path of there) rmSync(path, { force: true })\n', ''],
    ],
  ]),
  ...guardsOf('two who write to one OCI layout', [
    [
      'src/places/archive/layout-sink.ts',
      'src/places/archive/layout-sink.test.ts',
      ['this.#names.onto(await readEntries(this.#files))', 'this.#names'],
    ],
    [
      'src/places/archive/layout-sink.ts',
      'src/places/archive/layout-sink.test.ts',
      ['using _lock = await lockIndex(this.name, signal)', ''],
    ],
    [
      'src/places/archive/layout-sink.ts',
      'src/places/archive/layout-sink.test.ts',
      ['if (hex !== digestHex(digest)) return false', ''],
    ],
    [
      'src/places/archive/layout-sink.ts',
      'src/places/archive/layout-sink.test.ts',
      ['size, mtimeNs, ctimeNs].join', 'size, mtimeNs].join'],
    ],
  ]),
  ...guardsOf('several processes', [
    [
      'src/sys/byte-locks.ts',
      'src/places/store/session.test.ts',
      ["if (tryLockByte(fd, offset, 'exclusive')) return new ByteLock(fd)", 'return new ByteLock(fd)'],
    ],
    [
      'src/places/store/locks.ts',
      'src/places/store/session.test.ts',
      ['async wait(\n    kind: LockKind,', 'async wait(\n    _kind: LockKind,'],
      ['return await waitByteLockUnless(this.#path, this.#offset(kind, name), signal, isOver)', 'return undefined'],
    ],
  ]),
  ...guardsOf('`gc` and `rmi` beside pulls', [
    [
      'src/places/store/session.ts',
      'src/places/store/session.test.ts',
      ['      database.lease(this.id, kind, id)\n', ''],
    ],
    [
      'src/places/store/collect.ts',
      'src/places/store/mount.test.ts',
      ['if (!mounted.has(image.id)) database', 'database'],
    ],
  ]),
  ...guardsOf('a call that fails', [
    [
      'src/places/store/layer-ingest.ts',
      'src/places/store/session.test.ts',
      ['      await removeTree(this.#names.directory)\n', ''],
    ],
    [
      'src/places/store/layer-ingest.ts',
      'src/places/store/session.test.ts',
      ['    await withdrawLayer(this.#context, cacheId, directory)\n', ''],
    ],
  ]),
]

const held = 'src/sys/held-process.test.ts'
const plan = 'src/doctor/rescue/plan.test.ts'
const cures = 'src/doctor/cures/cures.test.ts'
const clients = 'src/doctor/clients.test.ts'
const claims = 'src/doctor/rescue/claim.test.ts'

const trials = 'src/doctor/checks/decompressor.test.ts'
const ownPath = 'src/sys/own-path.test.ts'
const found = 'src/doctor/engines.test.ts#^nobody answers|^who listens'
const collected = 'src/doctor/collector.test.ts#^the script'

const engines: Mutant[] = [
  ...guardsOf('a program that an ordinary user', [
    ['src/doctor/checks/decompressor-programs.ts', trials, ['mayTry && refusal === undefined', 'mayTry']],
    ['src/doctor/own-programs.ts', trials, ['  if (!(await isOfHost(host, engine.process.pid)))\n', '  if (false)\n']],
    ['src/doctor/own-programs.ts', trials, ['const named = [interpreter, ', 'const named = [']],
    ['src/doctor/own-programs.ts', trials, [', ...(await findScriptFiles(path))]', ']']],
    ['src/doctor/checks/decompressor-library.ts', trials, ['    if (refusal !== undefined) {', '    if (false) {']],
    ['src/sys/own-path.ts', ownPath, ['  if (uid !== 0 && uid !== own) return', '  if (false) return']],
    ['src/sys/own-path.ts', ownPath, ['constants.S_IWGRP | constants.S_IWOTH', 'constants.S_IWOTH']],
    ['src/sys/own-path.ts', ownPath, ['(mode & sticky) === 0', 'true']],
    ['src/doctor/collector.sh', collected, ['    is_own "$place" || exit 1\n', '']],
    ['src/doctor/collector.sh', collected, ["    case $above in / | '') ;; *) exit 1 ;; esac\n", '']],
  ]),
  ...guardsOf('credentials sent where somebody', [
    [
      'src/doctor/checks/items.ts',
      'src/doctor/checks/registry.test.ts',
      ['open.map(({ process }) => findStrangeness(host, process.pid))', 'open.map(() => undefined)'],
    ],
    ['src/doctor/cures/cure.ts', cures, ['  if (!facts.isOfHost)\n', '  if (false)\n']],
    ['src/doctor/cures/cure.ts', cures, ['(await isOwn(host, path)) && ', '']],
  ]),
  ...guardsOf("a stranger's answers taken", [
    ['src/doctor/engines.ts', found, [' && counts.get(inode) === 1', '']],
    [
      'src/doctor/engines.ts',
      found,
      [
        'inode !== undefined && inodes.has(inode) ?',
        'flags === listening && inode !== undefined && inodes.has(inode) ?',
      ],
    ],
    [
      'src/doctor/engines.ts',
      found,
      ['isListener: listener => isListenerOf(host, pid, listener)', 'isListener: () => true'],
    ],
    ['src/doctor/engines.ts', found, ['  if (listener.uid !== 0 &&', '  if (false &&']],
    ['src/doctor/collector.sh', collected, ['    case $numbers in *":$number:"*":$number:"*) continue ;; esac\n', '']],
    [
      'src/doctor/collector.sh',
      'src/doctor/downloads.test.ts#asks no socket',
      ['place=$(own_path "$at") ||', 'place=$at ||'],
    ],
  ]),
  ...guardsOf('another process than the one', [
    ['src/sys/held-process.ts', held, ['if (now?.startTicks !== startTicks)', 'if (false)']],
    ['src/sys/held-process.ts', held, ['if (size !== machine.registersSize)', 'if (false)']],
  ]),
  ...guardsOf("a wrong byte in the engine's stream", [
    ['src/doctor/rescue/plan.ts', plan, ['isExact ? position === written : ', '']],
    ['src/doctor/rescue/plan.ts', plan, ['  if (!isExact && shown.some(({ isAtEnd }) => isAtEnd))', '  if (false)']],
    ['src/doctor/rescue/plan.ts', plan, ['  if (!isExact && written > 0)\n', '  if (false)\n']],
    ['src/doctor/rescue/plan.ts', plan, ['  if (!hasReadAsMuch(known, layer))', '  if (false)']],
    ['src/doctor/rescue/plan.ts', plan, ['  if (layer.contents.some(', '  if (false && layer.contents.some(']],
    ['src/doctor/rescue/plan.ts', plan, ['  return inputAt !== undefined && (', '  return (']],
    [
      'src/doctor/rescue/plan.ts',
      plan,
      ['(position === undefined || position === size)', '(!position || position === size)'],
    ],
    ['src/doctor/rescue/plan.ts', plan, ['isBegun(layer) && ', '']],
    [
      'src/doctor/rescue/plan.ts',
      plan,
      ['  if (inputWaiting === 0) return read >= size && (', '  if (inputWaiting === 0) return ('],
    ],
    ['src/doctor/rescue/plan.ts', plan, ['  if (another !== undefined)\n    throw', '  if (false)\n    throw']],
    ['src/doctor/rescue/plan.ts', plan, ['    if (position.bytes > layer.total)', '    if (false)']],
    ['src/doctor/rescue/plan.ts', plan, ['inputWaiting >= Math.min(tellingBytes, layer.size)', 'inputWaiting > 0']],
    ['src/doctor/rescue/plan.ts', plan, ['  if (shown.some(other => other.position !== position))', '  if (false)']],
    ['src/doctor/rescue/plan.ts', plan, ['  if (!isExact && shown.length <= others)', '  if (false)']],
    [
      'src/doctor/rescue/plan.ts',
      plan,
      ['  if (other !== undefined && possible.length > layer.others)', '  if (false)'],
    ],
  ]),
  ...guardsOf('a process that is left half done', [
    ['src/sys/held-process.ts', held, ['&& !this.wasStopped && ', '&& ']],
    [
      'src/doctor/rescue/unfinished.ts',
      claims,
      ['written.bytes === 0 ? undefined : start + written.bytes', 'undefined'],
    ],
    ['src/doctor/rescue/unfinished.ts', claims, ["stepOf(rest, 'let-go') !== undefined", 'false']],
    ['src/doctor/rescue/unfinished.ts', claims, ['a.position - b.position', '0']],
    ['src/doctor/cures/journal.ts', claims, ['uptimeOf(a) - uptimeOf(b) || ', '']],
    ['src/doctor/rescue/unfinished.ts', claims, ['given?.writer !== writer || now === given.bytes', 'true']],
    ['src/doctor/rescue/unfinished.ts', claims, ['given?.writer !== writer || ', '!given || ']],
    ['src/doctor/rescue/unfinished.ts', claims, ["(stepOf(rest, 'held') ?? begin)", "stepOf(rest, 'held')"]],
    [
      'src/doctor/rescue/orphans.ts',
      'src/doctor/rescue/orphans.test.ts',
      [' && !engines.some(engine => isThere(host, engine))', ''],
    ],
    [
      'src/doctor/rescue/orphans.ts',
      'src/doctor/rescue/orphans.test.ts',
      ['unfinished?.leftStopped.has(one.pid) !== true', 'unfinished === undefined'],
    ],
    ['src/doctor/rescue/let-go.ts', claims, [' || unfinished.position !== undefined', '']],
    ['src/doctor/rescue/let-go.ts', claims, [' && now.startTicks === startTicks', '']],
    ['src/sys/held-process.ts', held, ['  lingering.add(tid)\n', '']],
  ]),
  ...guardsOf('bytes of a layer in what is no pull', [
    ['src/doctor/rescue/plan.ts', plan, ['  if (examined.layer.isFetched) return false\n', '']],
    ['src/doctor/rescue/plan.ts', plan, ['rivals === 0 && ', '']],
    ['src/doctor/rescue/plan.ts', plan, [' && !known.mayBeSent', '']],
  ]),
  ...guardsOf('a rescue of which nobody knows any more', [
    [
      'src/sys/foreign-pipes.ts',
      'src/sys/foreign-pipes.test.ts',
      ['[widened(page), 8 * page, page]', '[widened(page)]'],
    ],
  ]),
  ...guardsOf('a disk that journals fill', [
    ['src/doctor/rescue/prune.ts', 'src/doctor/rescue/prune.test.ts', ['.slice(-keptMax)', '']],
    ['src/doctor/rescue/prune.ts', 'src/doctor/rescue/prune.test.ts', ['isNeeded(host, record) || ', '']],
  ]),
  ...guardsOf('two who rescue the same process', [
    ['src/doctor/rescue/claim.ts', claims, ['tryFlock(fd) && ', '']],
    ['src/doctor/rescue/claim.ts', claims, ['    this.#wasKept = before.length > 0\n', '    this.#wasKept = false\n']],
  ]),
  ...guardsOf('a shim that somebody else', [
    ['src/doctor/cures/cure.ts', cures, [' && (await isOwn(host, engine.rootPrefix + directory))', '']],
  ]),
  ...guardsOf('a name that somebody else has brought', [
    ['src/doctor/cures/apply.ts', cures, ['!(isDelivery(record) && isBrokenOff(record))', 'true']],
  ]),
  ...guardsOf('an image that nobody asked for', [
    ['src/doctor/pull-line.ts', clients, ["hasValue ? rest.shift() : 'true'", "false ? rest.shift() : 'true'"]],
    ['src/doctor/pull-line.ts', clients, ['isPull = commands.includes(command)', "isPull = word === 'pull'"]],
    ['src/doctor/clients.ts', clients, [': line.images.slice(0, 1)', ': line.images.slice(-1)']],
    ['src/doctor/pull-line.ts', clients, ["style === 'go' && !isOption(word)", 'false']],
    ['src/doctor/client-address.ts', clients, ["if (name === undefined || name === 'default')", 'if (true)']],
  ]),
  ...guardsOf('an engine that is not the one', [
    ['src/doctor/cures/prove.ts', 'src/doctor/cures/prove.test.ts', ['other.dataRoot !== engine.dataRoot', 'false']],
    [
      'src/doctor/cures/prove.ts',
      'src/doctor/cures/prove.test.ts',
      ['return isThere ? undefined', 'return true ? undefined'],
    ],
  ]),
  ...guardsOf('a rescue that stands still', [
    ['src/cli/doctor/rescue-service.ts', 'src/cli/doctor/rescue-service.test.ts', ['    still.abort(error)\n', '']],
    [
      'src/cli/doctor/rescue-service.ts',
      'src/cli/doctor/rescue-service.test.ts',
      ['    timer = setTimeout(late.reject, wordMs, error)\n', ''],
    ],
    [
      'src/sys/outliving-writer.ts',
      'src/sys/outliving-writer.test.ts',
      ['await unlessAborted(this.#input.write(data), signal)', 'await this.#input.write(data)'],
    ],
  ]),
  ...guardsOf('a file that was changed meanwhile', [
    [
      'src/doctor/cures/journal.ts',
      cures,
      ['numberOf(a) - numberOf(b) || compareBegins(a, b)', 'timeOf(a).localeCompare(timeOf(b))'],
    ],
    ['src/doctor/cures/file-change.ts', cures, ['      if (old !== undefined) copyAttributes(real, file)\n', '']],
    ['src/doctor/cures/file-change.ts', cures, ["  checkNames(path, 'Cannot change')\n", '']],
    [
      'src/doctor/cures/file-change.ts',
      cures,
      ["  if (before !== undefined) checkNames(path, 'Cannot take back the change of')\n", ''],
    ],
    [
      'src/doctor/cures/file-change.ts',
      cures,
      ['  for (const directory of directories.toReversed()) rmdirIfEmpty(directory)\n', ''],
    ],
    ['src/doctor/cures/file-change.ts', cures, ["  expect(path, after, 'Cannot take back the change of')\n", '']],
    ['src/doctor/cures/file-change.ts', cures, ["  expect(path, before, 'Cannot change')\n", '']],
    [
      'src/doctor/cures/file-change.ts',
      cures,
      ['      if (old !== undefined) fchownSync(file, old.uid, old.gid)\n', ''],
    ],
    [
      'src/doctor/cures/file-change.ts',
      cures,
      ['readFileSync(path).equals(Buffer.from(wanted))', "readFileSync(path, 'utf8') === wanted"],
    ],
    ['src/doctor/cures/file-change.ts', cures, ['  if (lstatSync(path, ', '  if (statSync(path, ']],
    ['src/doctor/cures/apply.ts', cures, ['.filter(checkRevert)', '']],
    [
      'src/doctor/cures/apply.ts',
      cures,
      ['const left = revertAll(done.toReversed())\n    const', 'const left: string[] = []\n    const'],
    ],
    ['src/doctor/cures/apply.ts', cures, ['left.length === 0 ? error :', 'left.length < 9 ? error :']],
    ['src/doctor/cures/journal.ts', cures, ["this.#isTorn ? '\\n' : ''", "''"]],
  ]),
]

const ordinary: Mutant[] = [
  ...guardsOf('a program that is set-user-ID to an owner whom', [
    [
      'src/layer/ordinary.ts',
      'src/layer/ordinary.test.ts',
      ["    if (entry.type !== 'directory') entry.mode &= ~S_ISUID_ISGID\n", ''],
    ],
  ]),
  ...guardsOf('a device node', [
    ['src/layer/ordinary.ts', 'src/layer/ordinary.test.ts', ["    entry.type = 'file'\n", '']],
  ]),
  ...guardsOf('`user.overlay.*` attributes, which', [
    ['src/layer/metadata.ts', advisories('whiteout'), ["name.startsWith('user.overlay.') || ", '']],
  ]),
]

export const mutants: readonly Mutant[] = [
  ...layer,
  ...documents,
  ...signatures,
  ...durability,
  ...engines,
  ...ordinary,
]
