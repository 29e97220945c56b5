/** Advice that several findings share. */
export const withoutDecompressor = {
  en: 'Bring the image in without the decompressor of the engine: windlass pull --into docker REF (or containerd) decompresses in process.',
  zh: '绕过引擎的解压程序导入镜像：windlass pull --into docker REF（或 containerd）在进程内解压。',
}
const killOne = {
  en: 'kill -9 of this one decompressor frees every pull that waits for it, with an error (unexpected EOF); put the workaround in place first, then pull again.',
  zh: '对该解压进程执行 kill -9 会释放所有等待它的拉取，但会报错（unexpected EOF）；请先做好规避措施，再重新拉取。',
}
export const disablePigz = {
  en: 'Keep the engine from using it: MOBY_DISABLE_PIGZ=true for dockerd, CONTAINERD_DISABLE_PIGZ=true for containerd, in the environment of the daemon; for podman and CRI-O a PATH without pigz. A daemon needs a restart for it.',
  zh: '禁止引擎使用它：在守护进程的环境中为 dockerd 设置 MOBY_DISABLE_PIGZ=true，为 containerd 设置 CONTAINERD_DISABLE_PIGZ=true；对 podman 和 CRI-O 则让其 PATH 中没有 pigz。守护进程需要重启。',
}
const rescueIt = {
  en: 'windlass doctor --rescue brings this pull to its end: nothing is restarted or downloaded again, and where it is not sure it refuses; --dry-run shows what it would do.',
  zh: 'windlass doctor --rescue 让该拉取正常完成：不重启、不重新下载，没有把握时会拒绝；--dry-run 只显示将要做什么。',
}
/** One that moves, if only a byte now and then, is not rescued. */
export const slowDecompressor = {
  en: [withoutDecompressor.en, killOne.en, disablePigz.en],
  zh: [withoutDecompressor.zh, killOne.zh, disablePigz.zh],
}
export const stuckDecompressor = {
  en: [rescueIt.en, ...slowDecompressor.en],
  zh: [rescueIt.zh, ...slowDecompressor.zh],
}
