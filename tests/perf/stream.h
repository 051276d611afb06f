// A stream into memory, for functions that write to a FILE.
#ifndef TR_TESTS_PERF_STREAM_H
#define TR_TESTS_PERF_STREAM_H

#include <cstdio>
#include <cstdlib>
#include <string>

class Stream
{
  public:
    Stream() : file_(open_memstream(&text_, &bytes_)) {}
    ~Stream()
    {
        if (file_ != nullptr)
            fclose(file_);
        free(text_);
    }
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;
    FILE *file()
    {
        return file_;
    }
    std::string text()
    {
        fflush(file_);
        return std::string(text_, bytes_);
    }

  private:
    char *text_ = nullptr;
    size_t bytes_ = 0;
    FILE *file_;
};

#endif
